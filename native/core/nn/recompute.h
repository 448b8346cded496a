#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace seedbed::nn {

// Gradient checkpointing (Chen et al. 2016, arXiv 1604.06174): runs `body` without keeping what its gradient needs, and runs it
// again for the backward pass. `inputs` are all tensors that `body` reads and that may need a gradient, but for the parameters of
// the `RecomputeScope`. `body` must give the same at both runs, and whatever it refers to must live until then.
at::Tensor recompute(std::function<at::Tensor(const std::vector<at::Tensor>&)> body, const std::vector<at::Tensor>& inputs);

// While one lives, layers of this thread that record no gradients go the way of those that do, as in the first run of such a body: packed
// weights would be a second copy of all that the backward pass reads.
class PlainWeightsScope {
 public:
  PlainWeightsScope();
  ~PlainWeightsScope();
  PlainWeightsScope(const PlainWeightsScope&) = delete;
  PlainWeightsScope& operator=(const PlainWeightsScope&) = delete;

 private:
  bool outer_;
};
bool plain_weights();

// Collects, for the backward passes of this thread while it lives, the gradients of parameters that recomputed blocks read.
class RecomputeScope {
 public:
  explicit RecomputeScope(const std::vector<at::Tensor>& parameters);
  ~RecomputeScope();
  RecomputeScope(const RecomputeScope&) = delete;
  RecomputeScope& operator=(const RecomputeScope&) = delete;

  const std::vector<at::Tensor>& parameters() const { return parameters_; }
  const std::vector<at::Tensor>& gradients() const { return gradients_; }  // undefined where no block read the parameter
  void add(const std::vector<at::Tensor>& gradients);

 private:
  const std::vector<at::Tensor>& parameters_;
  std::vector<at::Tensor> gradients_;
  RecomputeScope* outer_;
};

}  // namespace seedbed::nn
