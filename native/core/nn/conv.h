#pragma once

#include "nn/module.h"
#include "nn/packed_weight.h"

namespace seedbed::nn {

class MergedWeight;

struct ConvOptions {
  int64_t kernel = 3;
  int64_t stride = 1;
  int64_t padding = 1;
  bool bias = true;
};

// Two-dimensional convolution with a square kernel. The weight is not initialised.
class Conv2d : public Module {
 public:
  Conv2d(int64_t in, int64_t out, const ConvOptions& options = {});
  at::Tensor operator()(const at::Tensor& x) const;                          // [B, in, H, W] -> [B, out, H', W']
  at::Tensor add_to(const at::Tensor& residual, const at::Tensor& x) const;  // residual + the same
  // With another bias [out] in place of the own.
  at::Tensor with_bias(const at::Tensor& x, const at::Tensor& other) const;
  void prepare(const Placement& placement, const std::string& name) override;

  at::Tensor weight;  // [out, in, kernel, kernel]
  at::Tensor bias;    // [out], undefined without

 private:
  bool fits_winograd(const at::Tensor& x) const;
  bool by_winograd(const at::Tensor& x) const;
  bool trained_by_winograd(const at::Tensor& x) const;
  bool is_frozen(const at::Tensor& x, const at::Tensor& bias) const;  // while gradients are recorded
  bool keeps_sides() const;
  ConvShape shape() const { return {options_.stride, options_.padding}; }
  at::Tensor run(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& residual) const;
  // `merged` may be missing.
  at::Tensor run_with(const MergedWeight* merged, const at::Tensor& x, const at::Tensor& bias, const at::Tensor& residual) const;

  ConvOptions options_;
  PackedWeight packed_;    // for the direct method
  PackedWeight packed_turned_;  // for its gradients
  PackedWeight winograd_;  // for large maps in float32
  PackedWeight turned_;    // for their gradients
  TrainedPack trained_, trained_turned_;  // the same of a weight that changes
};

class GroupNorm : public Module {
 public:
  GroupNorm(int64_t groups, int64_t channels, double eps);
  at::Tensor operator()(at::Tensor x) const;  // [B, C, H, W]; in place when nobody else holds x
  at::Tensor silu(at::Tensor x) const;        // the same, then x sigmoid(x)

  at::Tensor weight;  // [C]
  at::Tensor bias;    // [C]

 private:
  int64_t groups_;
  double eps_;
};

}  // namespace seedbed::nn
