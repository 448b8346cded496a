#include "train/optimizer.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "tensor/check.h"
#include "tensor/error.h"

namespace seedbed::train {

Optimizer::Optimizer(NamedTensors parameters, const OptimizerOptions& options) : parameters_(std::move(parameters)), options_(options) {
  check_range(options.weight_decay, "weightDecay", 0.0, 10.0);
  check_range(options.beta1, "beta1", 0.0, 0.999999);
  check_range(options.beta2, "beta2", 0.0, 0.999999);
  check_range(options.momentum, "momentum", 0.0, 0.999999);
  for (const auto& [name, value] : parameters_) {
    const auto slow = std::ranges::find_if(options.lr_factors, [&](const auto& factor) { return name.starts_with(factor.first); });
    lr_factors_.push_back(slow == options.lr_factors.end() ? 1 : slow->second);
    first_.push_back(at::zeros_like(value.detach()));
    if (options.kind == OptimizerKind::adamw) second_.push_back(at::zeros_like(value.detach()));
  }
}

void Optimizer::step(const std::vector<at::Tensor>& gradients, double lr, WorkerPool& pool) {
  ++steps_;
  pool.run(static_cast<int64_t>(parameters_.size()), [&](int64_t i, int) { update(i, gradients[i], lr_factors_[i] * lr); });
}

void Optimizer::update(size_t i, const at::Tensor& given, double lr) {
  const c10::NoGradGuard no_grad;
  const at::Tensor value = parameters_[i].second;
  // The fused updates go through memory in order: of a convolution of channels-last maps, the gradient lies as they do, the weight may not.
  const at::Tensor gradient = given.strides() == value.strides() ? given : at::empty_like(value).copy_(given);
  const double decay = value.dim() > 1 ? options_.weight_decay : 0;
  switch (options_.kind) {
    case OptimizerKind::adamw: {
      const at::Tensor steps = at::full({}, static_cast<float>(steps_));
      at::_fused_adamw_({value}, {gradient}, {first_[i]}, {second_[i]}, {}, {steps}, lr, options_.beta1, options_.beta2, decay, options_.eps, false, false);
      break;
    }
    case OptimizerKind::sgd:
      at::_fused_sgd_({value}, {gradient}, {first_[i]}, decay, options_.momentum, lr, /*dampening=*/0, options_.nesterov, /*maximize=*/false, steps_ == 1);
      break;
  }
  value.unsafeGetTensorImpl()->bump_version();  // which the fused kernels leave out; packed forms of the weight go by it
}

NamedTensors Optimizer::state() const {
  NamedTensors state;
  const char* first_name = options_.kind == OptimizerKind::adamw ? "exp_avg." : "momentum_buffer.";
  for (size_t i = 0; i < parameters_.size(); ++i) {
    state.emplace_back(first_name + parameters_[i].first, first_[i]);
    if (!second_.empty()) state.emplace_back("exp_avg_sq." + parameters_[i].first, second_[i]);
  }
  return state;
}

void Optimizer::load_state(const SafetensorsFile& file, const std::string& prefix, int64_t steps_done) {
  for (const auto& [name, value] : state()) value.copy_(file.tensor(prefix + name));
  steps_ = steps_done;
}

}  // namespace seedbed::train
