#include "nn/trained_linear.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

namespace seedbed::nn {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kMostPacked = int64_t{4} << 20;      // elements of a weight that is kept in other forms too
constexpr int64_t kFewestByOneDnn = int64_t{1} << 15;  // elements of a weight whose gradient repays laying both factors out anew

thread_local Precision precision = Precision::float32;

at::Tensor rows_of(const at::Tensor& x) { return x.reshape({-1, x.size(-1)}); }

at::Tensor rounded(const at::Tensor& x) { return x.to(at::kBFloat16); }

// grad^T x of [rows, out] and [rows, in]: [out, in].
at::Tensor weight_gradient(const at::Tensor& grad, const at::Tensor& x) {
  if (x.scalar_type() == at::kBFloat16) return rounded(grad).t().mm(x).to(at::kFloat);
  if (grad.size(1) * x.size(1) < kFewestByOneDnn) return grad.t().mm(x);
  return packed_linear(grad.t().contiguous(), x.t().contiguous(), {}, {});
}

class Trained : public torch::autograd::Function<Trained> {
 public:
  // In bfloat16 `packed` and `turned` are both the rounded weight.
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias, const std::optional<at::Tensor>& residual,
                            const at::Tensor& packed, const at::Tensor& turned, Precision precision) {
    const bool low = precision == Precision::bfloat16;
    const at::Tensor read = low ? rounded(x) : x;
    ctx->save_for_backward({read});
    ctx->saved_data["sizes"] = weight.sizes();
    ctx->saved_data["packed"] = packed;
    ctx->saved_data["turned"] = turned;
    ctx->saved_data["low"] = low;
    ctx->saved_data["bias"] = bias.has_value();
    ctx->saved_data["residual"] = residual.has_value();
    if (low) {
      const at::Tensor y = at::linear(read, packed, bias ? std::optional(rounded(*bias)) : std::nullopt);
      return residual ? *residual + y : y.to(at::kFloat);
    }
    return packed_linear(x, packed, bias.value_or(at::Tensor()), residual.value_or(at::Tensor()));
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    auto& saved = ctx->saved_data;
    const at::Tensor x = ctx->get_saved_variables()[0], grad = grads[0].contiguous(), rows = rows_of(grad);
    const bool low = saved["low"].toBool();
    variable_list out(7);
    if (ctx->needs_input_grad(0)) out[0] = low ? rounded(grad).matmul(saved["packed"].toTensor()).to(at::kFloat) : packed_linear(grad, saved["turned"].toTensor(), {}, {});
    if (ctx->needs_input_grad(1)) out[1] = weight_gradient(rows, rows_of(x)).view(saved["sizes"].toIntVector());
    if (saved["bias"].toBool()) out[2] = rows.sum(0);
    if (saved["residual"].toBool()) out[3] = grad;
    return out;
  }
};

std::optional<at::Tensor> optional(const at::Tensor& x) { return x.defined() ? std::optional(x) : std::nullopt; }

}  // namespace

PrecisionScope::PrecisionScope(Precision inner) : outer_(precision) { precision = inner; }

PrecisionScope::~PrecisionScope() { precision = outer_; }

Precision active_precision() { return precision; }

bool TrainedLinear::takes(const at::Tensor& x, const at::Tensor& weight) {
  return c10::GradMode::is_enabled() && weight.requires_grad() && weight.numel() <= kMostPacked && x.is_cpu() && x.numel() > 0 && x.scalar_type() == at::kFloat && weight.scalar_type() == at::kFloat;
}

at::Tensor TrainedLinear::operator()(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& residual) const {
  const bool low = precision == Precision::bfloat16;
  const at::Tensor packed = low ? rounded_.get(weight, [](const at::Tensor& w) { return rounded(w.flatten(1)); }) : packed_.get(weight, [](const at::Tensor& w) { return pack_linear(w.flatten(1)); });
  const at::Tensor turned = low ? packed : turned_.get(weight, [](const at::Tensor& w) { return pack_linear(w.flatten(1).t()); });
  return Trained::apply(x, weight, optional(bias), optional(residual), packed, turned, precision);
}

}  // namespace seedbed::nn
