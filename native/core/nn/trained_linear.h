#pragma once

#include "nn/packed_weight.h"

namespace torch::autograd {
struct AutogradContext;
}

namespace seedbed::nn {

// The type in which linear layers multiply in a training step in float32. Sums are float32, and so is all else: weights, what passes between layers, gradients.
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

// A weight [out, in] as products read it: of float32 on the CPU in oneDNN's layouts, where they are kept, else as it is.
struct LinearForms {
  at::Tensor weight;  // [out, in]
  at::Tensor turned;  // [in, out]; undefined: made at each use
};

// Both without gradients of their own. x [*, in] -> x W^T + bias + residual [*, out]; bias and residual may be undefined. grad [*, out] -> grad W [*, in].
at::Tensor linear_product(const at::Tensor& x, const LinearForms& forms, const at::Tensor& bias, const at::Tensor& residual);
at::Tensor turned_product(const at::Tensor& grad, const LinearForms& forms);

// From the forward pass to the backward pass.
void save(torch::autograd::AutogradContext& ctx, const LinearForms& forms);
LinearForms saved_forms(torch::autograd::AutogradContext& ctx);

// A linear layer in a training step: its weight's forms, made anew after each update, and its products with their gradients.
class TrainedLinear {
 public:
  // Whether a call goes this way: in float32 on the CPU, while gradients are recorded or by a block that will be computed again for them.
  static bool takes(const at::Tensor& x, const at::Tensor& weight);

  // x W^T + bias + residual in the thread's precision; gradients of what needs them. x [*, in], weight [out, in, ...]; bias [out] and residual [*, out] may be undefined.
  at::Tensor operator()(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& residual) const;

  LinearForms forms(const at::Tensor& x, const at::Tensor& weight) const;

 private:
  TrainedPack packed_, turned_, rounded_;
};

}  // namespace seedbed::nn
