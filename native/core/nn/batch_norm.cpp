#include "nn/batch_norm.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "tensor/error.h"

namespace seedbed::nn {

namespace {

constexpr double kEps = 1e-5;
constexpr double kMomentum = 0.1;  // of the newest batch in the running averages

}  // namespace

BatchNorm2d::BatchNorm2d(int64_t channels)
    : weight(add_parameter("weight", at::ones({channels}))),
      bias(add_parameter("bias", at::zeros({channels}))),
      running_mean_(add_buffer("running_mean", at::zeros({channels}))),
      running_var_(add_buffer("running_var", at::ones({channels}))),
      num_batches_tracked_(add_buffer("num_batches_tracked", at::zeros({}, at::kLong))) {}

at::Tensor BatchNorm2d::operator()(const at::Tensor& x, const Forward& forward) const {
  if (!forward.training) return at::batch_norm(x, weight, bias, running_mean_, running_var_, /*training=*/false, kMomentum, kEps, /*cudnn_enabled=*/false);
  expect(x.numel() > x.size(1), "Expected more than one value a channel in each shard of a batch for batch norms, received {} pictures of {} x {}; raise batchSize or shardSize", x.size(0), x.size(2),
         x.size(3));
  const at::Tensor mean = at::zeros_like(running_mean_), var = at::zeros_like(running_var_);  // by a momentum of 1: those of x alone
  const at::Tensor y = at::batch_norm(x, weight, bias, mean, var, /*training=*/true, /*momentum=*/1, kEps, /*cudnn_enabled=*/false);
  forward.statistics->layers_.push_back({this, mean, var});
  return y;
}

void BatchStatistics::update_running(const std::vector<BatchStatistics>& parts) {
  const c10::NoGradGuard no_grad;
  for (size_t i = 0; i < parts.at(0).layers_.size(); ++i) {
    const Measured& first = parts[0].layers_[i];
    at::Tensor mean = at::zeros_like(first.mean), var = at::zeros_like(first.var);
    for (const BatchStatistics& part : parts) {
      mean.add_(part.layers_[i].mean);
      var.add_(part.layers_[i].var);
    }
    const auto count = static_cast<double>(parts.size());
    first.layer->running_mean_.lerp_(mean.div_(count), kMomentum);
    first.layer->running_var_.lerp_(var.div_(count), kMomentum);
    first.layer->num_batches_tracked_.add_(1);
  }
}

}  // namespace seedbed::nn
