#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>

#include "nn/network_adapter.h"
#include "train/batch_source.h"
#include "train/clip_embedding.h"
#include "train/evaluate.h"
#include "train/lora_factors.h"
#include "train/trainer.h"

// A CLIP that tells classes apart by sentences about them, as it is ("zero-shot") or with LoRA in both towers, the classifier of DataDream
// (arXiv 2407.10910).

namespace seedbed::train {

struct ClipFactors {
  std::map<std::string, nn::LoraFactors> text, vision;
};

// Factors of both towers at work; a tower without any has none.
class ClipAdapters {
 public:
  ClipAdapters(const ClipModel& model, const ClipFactors& factors, nn::AdapterUse use);

  const nn::ActiveLoras* text() const { return text_ ? &text_->active() : nullptr; }
  const nn::ActiveLoras* vision() const { return vision_ ? &vision_->active() : nullptr; }
  NamedTensors parameters() const;
  ClipFactors factors() const;
  int64_t parameter_count() const;

 private:
  std::unique_ptr<const nn::NetworkAdapter> text_, vision_;
};

struct ClipClassifierOptions {
  UpdateOptions updates{.optimizer = {.weight_decay = 1e-4}, .schedule = {.base = 1e-4, .warmup = 0, .min = 1e-8, .warmup_prefix = true}, .clip_norm = 1};
  int64_t batch_size = 64;
  int64_t shard_size = 16;  // pictures, or sentences, that one thread encodes at a time; part of the result's identity
  bool recompute = false;   // run sentences again for their gradients, instead of keeping what these need
  double real_weight = 0.8;
  image::AugmentOptions augment{};
  image::Normalisation normalisation{};
  LoraDraw draw{.rank = 16, .alpha = 32, .init = LoraInit::kaiming};
  std::vector<std::string> text_targets{"q_proj", "v_proj"}, vision_targets{"q_proj", "v_proj"};  // empty: that tower stays as it is
  uint64_t seed = 0;
  ClipFactors initial;  // factors to begin with; empty: drawn
};

struct ClipClassifierTraining {
  TrainResult train;
  ClipFactors factors;
};

// Sentences about classes.
struct ClassTexts {
  int64_t classes() const { return static_cast<int64_t>(counts.size()); }

  at::Tensor ids;               // [sentences, L] int64, those of a class one after the other
  std::vector<int64_t> counts;  // sentences of each class
};

// Throws ERR_INVALID_ARGUMENT where the sentences are not as many as the counts say, or a class has none.
void check_class_texts(const ClassTexts& texts);

// Rows of length 1, in batches that are spread over the pool; `on_batch` is called before each, on any thread, and may throw `Cancelled`. [N, P] of texts [N, L].
at::Tensor text_embeddings(const ClipModel& model, const at::Tensor& ids, const ClipAdapters* adapters, WorkerPool& pool, const std::function<void()>& on_batch = {});

// [classes, P] the mean over a class's sentences, of length 1.
at::Tensor class_embeddings(const ClipModel& model, const ClassTexts& texts, const ClipAdapters* adapters, WorkerPool& pool, const std::function<void()>& on_batch = {});

// [N, P] of pictures.
at::Tensor picture_embeddings(const ClipModel& model, const std::vector<image::ImageView>& images, const View& view, const ClipAdapters* adapters, WorkerPool& pool, const std::function<void()>& on_batch = {});

// Trains factors for both towers; the model stays as it is. The sentences' embeddings are computed anew at each step while the text tower has factors.
// Throws ERR_INVALID_ARGUMENT, ERR_NOT_FINITE before a bad update.
ClipClassifierTraining train_clip_classifier(const ClipModel& model, const ClassTexts& texts, const image::PictureSource& data, const image::PictureSource* synthetic, const ClipClassifierOptions& options,
                                             WorkerPool& pool, const TrainCallbacks& callbacks = {});

}  // namespace seedbed::train
