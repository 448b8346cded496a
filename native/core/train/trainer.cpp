#include "train/trainer.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "tensor/check.h"
#include "tensor/error.h"
#include "train/checkpoint.h"

namespace seedbed::train {

namespace {

void check_batch(const BatchGradient& batch, int64_t step, bool has_checkpoint) {
  if (std::isfinite(batch.loss) && std::isfinite(batch.norm)) return;
  fail(ErrorCode::not_finite, "The {} became {} at step {}; lower the learning rate. The weights of step {} are untouched{}", std::isfinite(batch.loss) ? "gradient" : "loss",
       std::isfinite(batch.loss) ? batch.norm : batch.loss, step + 1, step, has_checkpoint ? ", the last checkpoint stands" : "");
}

}  // namespace

void check_update_options(const UpdateOptions& o) {
  check_range(o.steps, "steps", 1, 100'000'000);
  check_range(o.clip_norm, "clipNorm", 0.0, 1e9);
  check_range(o.schedule.base, "lr", 0.0, 1e3);
  check_range(o.schedule.warmup_steps, "warmupSteps", 0, o.steps);
  check_range(o.average_decay, "averageDecay", 0.0, 0.9999999);
  check_range(o.checkpoint_every, "checkpointEvery", 1, 100'000'000);
  expect(!o.resume || !o.checkpoint.empty(), "Expected a checkpoint file to resume from, received none");
}

Trainer::Trainer(NamedTensors parameters, const UpdateOptions& options, const std::function<std::string()>& identity, WorkerPool& pool, const NamedTensors& buffers)
    : parameters_(std::move(parameters)), state_(parameters_), options_(options), pool_(pool), optimizer_(parameters_, options.optimizer) {
  check_update_options(options);
  options_.schedule.total_steps = options.steps;
  state_.insert(state_.end(), buffers.begin(), buffers.end());
  for (const auto& [name, value] : parameters_) tensors_.push_back(value);
  if (options.average_decay > 0)
    for (const auto& [name, value] : parameters_) progress_.averages.emplace_back(name, value.detach().clone());
  if (!options.checkpoint.empty()) identity_ = identity();
  if (options.resume && std::filesystem::exists(options.checkpoint)) progress_ = read_checkpoint(options.checkpoint, identity_, state_, optimizer_);
}

TrainResult Trainer::run(const std::function<BatchGradient(int64_t)>& gradient, const TrainCallbacks& callbacks, const std::function<void()>& after_update) {
  TrainResult& result = progress_.result;
  bool saved = true;
  try {
    while (result.steps < options_.steps) {
      saved = false;
      update(gradient(result.steps));
      if (after_update) after_update();
      saved = due(options_.checkpoint_every);
      if (saved) save();
      if (callbacks.on_step) callbacks.on_step(result.history.back());
      if (saved && !options_.checkpoint.empty() && callbacks.on_checkpoint) callbacks.on_checkpoint(result.steps);
    }
  } catch (const Cancelled&) {
    if (!saved) save();
    throw;
  }
  return result;
}

NamedTensors Trainer::copy_of_kept() const {
  NamedTensors copies;
  for (const auto& [name, value] : kept()) copies.emplace_back(name, value.detach().clone());
  return copies;
}

bool Trainer::due(int64_t every) const {
  const int64_t step = progress_.result.steps;
  return step == options_.steps || (every > 0 && step % every == 0);
}

void Trainer::update(BatchGradient batch) {
  TrainResult& result = progress_.result;
  check_batch(batch, result.steps, !options_.checkpoint.empty());
  if (options_.clip_norm > 0 && batch.norm > options_.clip_norm) {
    const c10::NoGradGuard no_grad;
    for (at::Tensor& gradient : batch.gradients) gradient = gradient * (options_.clip_norm / (batch.norm + 1e-6));  // as torch.nn.utils.clip_grad_norm_
  }
  const double lr = lr_at(options_.schedule, result.steps);
  optimizer_.step(batch.gradients, lr, pool_);
  result.samples += batch.samples;
  result.history.push_back({++result.steps, batch.loss, lr});
  average();
}

void Trainer::average() {
  const auto step = static_cast<double>(progress_.result.steps);
  const double decay = std::min(options_.average_decay, (1 + step) / (10 + step));
  NamedTensors& averages = progress_.averages;
  pool_.run(static_cast<int64_t>(averages.size()), [&](int64_t i, int) {
    const c10::NoGradGuard no_grad;
    averages[i].second.lerp_(parameters_[i].second, 1 - decay);
  });
}

void Trainer::save() {
  if (!options_.checkpoint.empty()) write_checkpoint(options_.checkpoint, identity_, state_, optimizer_, progress_);
}

}  // namespace seedbed::train
