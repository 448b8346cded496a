#include "train/sharded_gradient.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "nn/recompute.h"

namespace seedbed::train {

namespace {

struct ShardGradient {
  double loss = 0;
  std::vector<at::Tensor> gradients;  // undefined where a parameter took no part
};

// What reaches the parameters directly, and from within recomputed blocks.
std::vector<at::Tensor> gradient_of(const std::vector<at::Tensor>& outputs, const std::vector<at::Tensor>& parameters, const std::vector<at::Tensor>& grad_outputs) {
  nn::RecomputeScope recomputed(parameters);
  std::vector<at::Tensor> gradients = torch::autograd::grad(outputs, parameters, grad_outputs, /*retain_graph=*/false, /*create_graph=*/false, /*allow_unused=*/true);
  const c10::NoGradGuard no_grad;
  for (size_t i = 0; i < gradients.size(); ++i) {
    const at::Tensor& inner = recomputed.gradients()[i];
    if (inner.defined()) gradients[i] = gradients[i].defined() ? gradients[i] + inner : inner;
  }
  return gradients;
}

void for_shards(int64_t shards, WorkerPool& pool, const std::function<void(int64_t)>& body) {
  if (shards == 1) body(0);
  else pool.run(shards, [&](int64_t shard, int) { body(shard); });
}

BatchGradient add_up(const std::vector<at::Tensor>& parameters, const std::vector<ShardGradient>& parts, int64_t rows, WorkerPool& pool) {
  BatchGradient total{.samples = rows};
  for (const ShardGradient& part : parts) total.loss += part.loss;
  total.gradients.resize(parameters.size());
  std::vector<double> squares(parameters.size());
  pool.run(static_cast<int64_t>(parameters.size()), [&](int64_t i, int) {
    const c10::NoGradGuard no_grad;
    at::Tensor sum;
    for (const ShardGradient& part : parts) {
      const at::Tensor& gradient = part.gradients[i];
      if (gradient.defined()) sum = sum.defined() ? sum + gradient : gradient;
    }
    total.gradients[i] = sum.defined() ? sum : at::zeros_like(parameters[i]);
    squares[i] = sum.defined() ? at::linalg_vector_norm(sum).square().item<double>() : 0;
  });
  for (double square : squares) total.norm += square;
  total.norm = std::sqrt(total.norm);
  return total;
}

}  // namespace

BatchGradient sum_of(const BatchGradient& a, const BatchGradient& b) {
  const c10::NoGradGuard no_grad;
  BatchGradient sum{.loss = a.loss + b.loss, .samples = a.samples + b.samples};
  double square = 0;
  for (size_t i = 0; i < a.gradients.size(); ++i) {
    sum.gradients.push_back(a.gradients[i] + b.gradients[i]);
    square += at::linalg_vector_norm(sum.gradients.back()).square().item<double>();
  }
  sum.norm = std::sqrt(square);
  return sum;
}

BatchGradient sharded_gradient(const std::vector<at::Tensor>& parameters, const Shards& shards, WorkerPool& pool, const ShardLoss& loss) {
  std::vector<ShardGradient> parts(shards.count);
  for_shards(shards.count, pool, [&](int64_t shard) {
    const c10::AutoGradMode grad(true);
    const at::Tensor part = loss(shards[shard]);
    parts[shard] = {part.item<double>(), gradient_of({part}, parameters, {})};
  });
  return add_up(parameters, parts, shards.rows, pool);
}

BatchGradient joint_gradient(const std::vector<at::Tensor>& parameters, const Shards& shards, WorkerPool& pool, const ShardOutputs& forward, const JointLoss& loss,
                             int64_t recomputed) {
  std::vector<std::vector<at::Tensor>> outputs(shards.count), leaves(shards.count);
  for_shards(shards.count, pool, [&](int64_t shard) {
    const c10::AutoGradMode grad(true);  // also where nothing is kept: layers go another way without, and end in other bytes
    outputs[shard] = forward(shards[shard]);
    for (const at::Tensor& output : outputs[shard]) leaves[shard].push_back(output.detach().requires_grad_(true));
    if (shard < recomputed) outputs[shard].clear();
  });
  std::vector<at::Tensor> trained = parameters;  // and what the loss reads itself
  for (const auto& shard : leaves) trained.insert(trained.end(), shard.begin(), shard.end());
  std::vector<ShardGradient> parts(shards.count + 1);
  std::vector<at::Tensor> gradients;
  {
    const c10::AutoGradMode grad(true);
    const at::Tensor joint = loss(leaves);
    gradients = gradient_of({joint}, trained, {});
    parts.back() = {joint.item<double>(), {gradients.begin(), gradients.begin() + static_cast<int64_t>(parameters.size())}};
  }
  const size_t per_shard = leaves.empty() ? 0 : leaves[0].size();
  for_shards(shards.count, pool, [&](int64_t shard) {
    if (shard < recomputed) {
      const c10::AutoGradMode grad(true);
      outputs[shard] = forward(shards[shard]);
    }
    std::vector<at::Tensor> used, grads;
    for (size_t i = 0; i < per_shard; ++i) {
      const at::Tensor& grad = gradients[parameters.size() + shard * per_shard + i];
      if (!grad.defined() || !outputs[shard][i].requires_grad()) continue;  // of a part that is frozen
      used.push_back(outputs[shard][i]);
      grads.push_back(grad);
    }
    parts[shard].gradients = used.empty() ? std::vector<at::Tensor>(parameters.size()) : gradient_of(used, parameters, grads);
    outputs[shard].clear();
  });
  return add_up(parameters, parts, shards.rows, pool);
}

}  // namespace seedbed::train
