#pragma once

#include "nn/packed_weight.h"

namespace seedbed::nn {

// The type in which linear layers multiply while their weights are trained. Sums are float32, and so is all else: weights, what passes between layers, gradients.
enum class Precision { float32, bfloat16 };

// While one lives, linear layers of this thread multiply in `precision`, in recomputed blocks of its forward passes too.
class PrecisionScope {
 public:
  explicit PrecisionScope(Precision precision);
  ~PrecisionScope();
  PrecisionScope(const PrecisionScope&) = delete;
  PrecisionScope& operator=(const PrecisionScope&) = delete;

 private:
  Precision outer_;
};
Precision active_precision();

// A linear layer's weight as products of a training step read it, made anew after each update.
class TrainedLinear {
 public:
  // Whether a call goes this way: on the CPU, while gradients of a float32 weight are recorded.
  static bool takes(const at::Tensor& x, const at::Tensor& weight);

  // x W^T + bias + residual in the thread's precision, with gradients. x [*, in], weight [out, in, ...], bias [out] and residual [*, out] may be undefined.
  at::Tensor operator()(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& residual) const;

 private:
  TrainedPack packed_, turned_, rounded_;  // W and W^T as oneDNN takes them; W in bfloat16
};

}  // namespace seedbed::nn
