#pragma once

#include <optional>

#include "nn/network_adapter.h"
#include "train/evaluate.h"
#include "train/freeze.h"
#include "train/lora_factors.h"
#include "train/mixup.h"
#include "train/trainer.h"

namespace seedbed::train {

enum class Keep { last, best };

// What is trained instead of the network's weights, beside its head.
struct ClassifierAdapter {
  LoraDraw draw;
  std::vector<std::string> targets;                // endings of layers' names, "q"
  std::map<std::string, nn::LoraFactors> initial;  // factors to begin with; empty: drawn
};

struct TrainOptions {
  UpdateOptions updates;
  int64_t batch_size = 64;
  int64_t shard_size = 16;   // images whose gradient is computed by one thread at a time; part of the result's identity
  double label_smoothing = 0;
  std::optional<MixupOptions> mixup{};
  image::AugmentOptions augment{};
  View view{};
  uint64_t seed = 0;
  int64_t evaluate_every = 0;  // steps; 0: only at the end
  Keep keep = Keep::last;      // best: the weights with the highest validation accuracy
  std::optional<ClassifierAdapter> adapter{};
  Freeze freeze{};  // not with an adapter, which freezes all but the head
  double real_weight = 0.8;  // see BatchOptions
};

struct ClassifierTraining {
  TrainResult train;
  std::map<std::string, nn::LoraFactors> factors;  // of the adapter
};

// Of all weights and running statistics but the head's: what an adapter was trained on.
uint64_t backbone_fingerprint(const nn::ClassifierNetwork& model);

// Trains `model` in place, with an adapter its head alone, on soft targets by cross-entropy. Each batch is cut into shards of fixed size; threads compute
// the shards' gradients, which are added in order: the result is the same for any number of threads. Every draw is a
// function of the seed and the place in the run, so a run resumed from a checkpoint equals an unbroken one bit for bit. Batch norms take the
// statistics of a shard; running averages move once a step, after the update, by the mean of all shards.
// A loss or gradient that is not finite throws ERR_NOT_FINITE before it touches the weights.
// On `Cancelled`, and every `checkpoint_every` steps, the state is written to `checkpoint`.
// `synthetic` (may be null): see BatchSource.
ClassifierTraining train_classifier(nn::ClassifierNetwork& model, const image::PictureSource& data, const image::PictureSource* synthetic, const image::PictureSource* validation, const TrainOptions& options,
                                    WorkerPool& pool, const TrainCallbacks& callbacks = {});

}  // namespace seedbed::train
