#pragma once

#include <optional>

#include "image/augment.h"
#include "train/captioned_pictures.h"
#include "train/clip_embedding.h"
#include "train/trainer.h"

// A text and an image tower that agree on what belongs together (CLIP, Radford et al. 2021, arXiv 2103.00020).

namespace seedbed::train {

// First weights. Layers as PyTorch draws them; embeddings of tokens and positions N(0, 0.5), and the outputs of the residual branches times
// 0.4: with small embeddings and full branches a causal tower begins, and stays for long, with nearly one vector for all texts.
void initialise_clip(const ClipModel& model, uint64_t seed);

// What a reference drew, in place of own draws.
struct FixedClipDraws {
  at::Tensor places;  // [steps, B] int64; each picture's first caption
};

struct ClipOptions {
  UpdateOptions updates{.optimizer = {.weight_decay = 0.05, .beta2 = 0.98},
                        .schedule = {.base = 1e-3, .warmup = 0, .min = 0, .warmup_prefix = true},
                        .clip_norm = 1,
                        .average_decay = 0.999,
                        .checkpoint_every = 500};
  int64_t batch_size = 256;
  int64_t shard_size = 64;      // pictures and captions that one thread encodes at a time; part of the result's identity
  int64_t evaluate_every = 0;   // steps; 0: only at the end
  uint64_t seed = 0;
  NamedTensors initial;         // weights to begin with; empty: drawn
  std::optional<image::AugmentOptions> augment;  // what is shown of a picture at each use; none: all of it, as it is
  std::optional<FixedClipDraws> fixed;
};

// Shares of pictures, or of texts, whose own group is the nearest, and among the five nearest.
struct Retrieval {
  double top1 = 0, top5 = 0;
};

struct ClipResult {
  TrainResult train;            // evaluations, picture to text: accuracy is top-1, loss the share that is not in the top 5
  NamedTensors weights;         // averaged, if asked for
  double logit_scale = 0;       // the factor, not its logarithm
  Retrieval picture_to_text, text_to_picture;  // of the validation pictures and their first captions
  std::vector<double> spread;   // [L], see `text_spread`
};

// Learns from batches of pictures, each with one of its captions: the symmetric cross-entropy of finding each picture's caption in the
// batch, and each caption's picture, by exp(logit_scale) times their cosine; the scale begins at 1 / 0.07 and stays below 100. Pictures of
// one group are no wrong answers to each other's captions: such pairs are left out. Pixels are normalised with CLIP's means. In float32;
// every draw is a function of the seed and the place in the run. Throws ERR_INVALID_ARGUMENT, ERR_SHAPE, ERR_WEIGHTS, ERR_NOT_FINITE.
ClipResult train_clip(const nn::ClipTextConfig& text, const nn::ClipVisionConfig& vision, const CaptionedPictures& data, const CaptionedPictures* validation, const ClipOptions& options,
                      WorkerPool& pool, const TrainCallbacks& callbacks = {});

// [L] How far the states of different texts lie apart at each position, as a share of their length: the root of the mean over the width of
// the variance over the texts. 0: one vector for all texts (always so at the begin token); 1: nothing in common. ids [M, L].
std::vector<double> text_spread(const nn::ClipText& text, const at::Tensor& ids);

}  // namespace seedbed::train
