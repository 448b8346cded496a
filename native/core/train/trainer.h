#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "nn/trained_linear.h"
#include "train/lr_schedule.h"
#include "train/optimizer.h"
#include "train/sharded_gradient.h"

namespace seedbed::train {

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

struct TrainResult {
  int64_t steps = 0;
  int64_t samples = 0;                         // examples seen
  std::vector<StepReport> history;             // every step
  std::vector<EvaluationReport> evaluations;
  std::optional<EvaluationReport> best;        // highest validation accuracy, the earliest on a tie
};

// All that a run needs to go on beside weights and moments.
struct Progress {
  TrainResult result;
  NamedTensors best_weights;  // empty unless the best are kept
  NamedTensors averages;      // exponential moving averages of the weights; empty unless asked for
};

struct UpdateOptions {
  int64_t steps = 1000;
  OptimizerOptions optimizer;
  LrSchedule schedule;             // total_steps is set to `steps`
  double clip_norm = 0;            // largest norm of the whole gradient; 0 turns it off
  nn::Precision precision = nn::Precision::float32;  // of products with trained weights
  double average_decay = 0;        // of an exponential moving average of the weights (after step t at most (1 + t) / (10 + t)); 0: none
  std::string checkpoint{};        // file; empty: none
  int64_t checkpoint_every = 500;  // steps
  bool resume = false;             // go on from `checkpoint` if it exists
};

// Throws ERR_INVALID_ARGUMENT.
void check_update_options(const UpdateOptions& options);

// Called between steps on the calling thread; `on_step` may throw `Cancelled`.
struct TrainCallbacks {
  std::function<void(const StepReport&)> on_step;
  std::function<void(const EvaluationReport&)> on_evaluation;
  std::function<void(int64_t step)> on_checkpoint;
};

// The part that every training run has: clipping, schedule, optimiser, averages, the guard against NaN, checkpoints. What a step draws must
// be a function of the seed and the step; then a run resumed from a checkpoint equals an unbroken one bit for bit. On `Cancelled`, and
// every `checkpoint_every` steps, the state is written to `checkpoint`.
class Trainer {
 public:
  // `identity`: what must be equal for a checkpoint to be continued; asked for only where there is one. `buffers`: what the run itself changes
  // beside the parameters, by the time that `after_update` returns; checkpoints hold it.
  Trainer(NamedTensors parameters, const UpdateOptions& options, const std::function<std::string()>& identity, WorkerPool& pool, const NamedTensors& buffers = {});

  // Steps until all are done, after those of the checkpoint. `after_update` comes before the checkpoint and the callbacks, so that a checkpoint
  // holds all up to its step. Throws ERR_NOT_FINITE, before a bad update.
  TrainResult run(const std::function<BatchGradient(int64_t step)>& gradient, const TrainCallbacks& callbacks, const std::function<void()>& after_update = {});

  const std::vector<at::Tensor>& parameters() const { return tensors_; }
  const NamedTensors& state() const { return state_; }  // parameters and buffers
  Progress& progress() { return progress_; }

  // What a run keeps, to be used in a network of the same layout: the averages where there are any, else the parameters themselves.
  const NamedTensors& kept() const { return progress_.averages.empty() ? parameters_ : progress_.averages; }
  NamedTensors copy_of_kept() const;

  // Whether something that happens every so many steps (0: never) and after the last one is due after the step just done.
  bool due(int64_t every) const;

 private:
  void update(BatchGradient batch);
  void average();
  void save();

  NamedTensors parameters_;
  NamedTensors state_;               // parameters and buffers
  std::vector<at::Tensor> tensors_;  // of the parameters
  UpdateOptions options_;
  WorkerPool& pool_;
  Optimizer optimizer_;
  std::string identity_;
  Progress progress_;
};

}  // namespace seedbed::train
