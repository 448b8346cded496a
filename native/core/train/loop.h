#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "train/evaluate.h"
#include "train/lr_schedule.h"
#include "train/mixup.h"
#include "train/optimizer.h"

namespace seedbed::train {

enum class Precision { float32, bfloat16 };
enum class Keep { last, best };

struct TrainOptions {
  int64_t steps = 1000;
  int64_t batch_size = 64;
  int64_t shard_size = 16;   // images whose gradient is computed by one thread at a time; part of the result's identity
  OptimizerOptions optimizer;
  LrSchedule schedule;       // total_steps is set to `steps`
  double label_smoothing = 0;
  std::optional<MixupOptions> mixup;
  image::AugmentOptions augment;
  View view;
  double clip_norm = 0;      // largest norm of the whole gradient; 0 turns it off
  Precision precision = Precision::float32;  // bfloat16: autocast, weights and optimiser stay float32
  uint64_t seed = 0;
  int64_t evaluate_every = 0;  // steps; 0: only at the end
  Keep keep = Keep::last;      // best: the weights with the highest validation accuracy
  std::string checkpoint;      // file; empty: none
  int64_t checkpoint_every = 500;  // steps
  bool resume = false;         // go on from `checkpoint` if it exists
};

struct StepReport {
  int64_t step;  // finished steps
  double loss;
  double lr;
};

struct EvaluationReport {
  int64_t step;
  double loss;
  double accuracy;
};

// Callbacks run between steps on the calling thread; they may throw `Cancelled`.
struct TrainCallbacks {
  std::function<void(const StepReport&)> on_step;
  std::function<void(const EvaluationReport&)> on_evaluation;
  std::function<void(int64_t step)> on_checkpoint;
};

struct TrainResult {
  int64_t steps = 0;
  int64_t samples = 0;                         // augmented images seen
  std::vector<StepReport> history;             // every step
  std::vector<EvaluationReport> evaluations;
  std::optional<EvaluationReport> best;        // highest validation accuracy, the earliest on a tie
};

// Trains `model` in place on soft targets by cross-entropy. Each batch is cut into shards of fixed size; threads compute
// the shards' gradients, which are added in order: the result is the same for any number of threads. Every draw is a
// function of the seed and the place in the run, so a run resumed from a checkpoint equals an unbroken one bit for bit.
// A loss or gradient that is not finite throws ERR_NOT_FINITE before it touches the weights.
// On `Cancelled`, and every `checkpoint_every` steps, the state is written to `checkpoint`.
TrainResult train_classifier(nn::VisionTransformer& model, const LabelledImages& data, const LabelledImages* validation, const TrainOptions& options, WorkerPool& pool,
                             const TrainCallbacks& callbacks = {});

}  // namespace seedbed::train
