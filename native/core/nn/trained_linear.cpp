#include "nn/trained_linear.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include "nn/fused.h"
#include "nn/recompute.h"
#include "nn/tensors.h"

namespace seedbed::nn {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kMostKept = 1 << 20;        // elements; larger weights are laid out anew at each product, which is cheap beside it, and memory dear
constexpr int64_t kFewestByOneDnn = 1 << 15;  // elements of a weight whose gradient repays laying both factors out anew

thread_local Precision precision = Precision::float32;

bool by_one_dnn(const at::Tensor& x) { return x.is_cpu() && x.scalar_type() == at::kFloat && x.numel() > 0; }

// grad^T x of [rows, out] and [rows, in], both float32 or both bfloat16: [out, in].
at::Tensor weight_gradient(const at::Tensor& grad, const at::Tensor& x) {
  if (x.scalar_type() == at::kBFloat16) return from_bfloat16(grad.t().mm(x));
  if (grad.size(1) * x.size(1) < kFewestByOneDnn) return grad.t().mm(x);
  return packed_linear(grad.t().contiguous(), x.t().contiguous(), {}, {});
}

class Trained : public torch::autograd::Function<Trained> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias, const std::optional<at::Tensor>& residual,
                            const LinearForms& forms) {
    const bool low = forms.weight.scalar_type() == at::kBFloat16;
    const at::Tensor read = low ? to_bfloat16(x) : x;
    ctx->save_for_backward({weight.requires_grad() ? read : at::Tensor()});
    save(*ctx, forms);
    ctx->saved_data["sizes"] = weight.sizes();
    ctx->saved_data["bias"] = bias.has_value();
    ctx->saved_data["residual"] = residual.has_value();
    if (low) {
      return from_bfloat16(linear_product(read, forms, bias ? to_bfloat16(*bias) : at::Tensor(), {}), residual.value_or(at::Tensor()));
    }
    return linear_product(read, forms, bias.value_or(at::Tensor()), residual.value_or(at::Tensor()));
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    auto& saved = ctx->saved_data;
    const LinearForms forms = saved_forms(*ctx);
    const at::Tensor grad = grads[0].contiguous(), rows = rows_of(grad);
    const bool low = forms.weight.scalar_type() == at::kBFloat16;
    variable_list out(5);
    const at::Tensor read = low ? to_bfloat16(grad) : grad;
    if (ctx->needs_input_grad(0)) out[0] = low ? from_bfloat16(turned_product(read, forms)) : turned_product(read, forms);
    if (ctx->needs_input_grad(1)) out[1] = weight_gradient(rows_of(read), rows_of(ctx->get_saved_variables()[0])).view(saved["sizes"].toIntVector());
    size_t input = 2;  // those that are missing are not counted
    if (saved["bias"].toBool() && ctx->needs_input_grad(input++)) out[2] = rows.sum(0);
    if (saved["residual"].toBool() && ctx->needs_input_grad(input)) out[3] = grad;
    return out;
  }
};

}  // namespace

PrecisionScope::PrecisionScope(Precision inner) : outer_(precision) { precision = inner; }

PrecisionScope::~PrecisionScope() { precision = outer_; }

Precision active_precision() { return precision; }

at::Tensor linear_product(const at::Tensor& x, const LinearForms& forms, const at::Tensor& bias, const at::Tensor& residual) {
  if (by_one_dnn(x)) return packed_linear(x, forms.weight, bias, residual);
  const at::Tensor y = at::linear(x, forms.weight, bias);
  return residual.defined() ? residual + y : y;
}

at::Tensor turned_product(const at::Tensor& grad, const LinearForms& forms) {
  if (!by_one_dnn(grad)) return grad.matmul(forms.weight);
  return packed_linear(grad, forms.turned.defined() ? forms.turned : forms.weight.t().contiguous(), {}, {});
}

void save(torch::autograd::AutogradContext& ctx, const LinearForms& forms) {
  ctx.saved_data["weight"] = forms.weight;
  if (forms.turned.defined()) ctx.saved_data["turned"] = forms.turned;
}

LinearForms saved_forms(torch::autograd::AutogradContext& ctx) {
  auto& saved = ctx.saved_data;
  return {saved["weight"].toTensor(), saved.count("turned") > 0 ? saved["turned"].toTensor() : at::Tensor()};
}

bool TrainedLinear::takes(const at::Tensor& x, const at::Tensor& weight) {
  const bool recorded = c10::GradMode::is_enabled() && (x.requires_grad() || weight.requires_grad());
  return (recorded || plain_weights()) && by_one_dnn(x) && weight.scalar_type() == at::kFloat;
}

at::Tensor TrainedLinear::operator()(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& residual) const {
  return Trained::apply(x, weight, optional(bias), optional(residual), forms(x, weight));
}

LinearForms TrainedLinear::forms(const at::Tensor& x, const at::Tensor& weight) const {
  const auto flat = [](const at::Tensor& w) { return w.detach().flatten(1); };
  if (!by_one_dnn(x)) return {flat(weight).to(x.scalar_type()), {}};
  if (precision == Precision::bfloat16) return {rounded_.get(weight, [&](const at::Tensor& w) { return to_bfloat16(flat(w)); }), {}};
  if (weight.numel() > kMostKept) return {flat(weight), {}};
  return {packed_.get(weight, [&](const at::Tensor& w) { return pack_linear(flat(w)); }), turned_.get(weight, [&](const at::Tensor& w) { return pack_linear(flat(w).t()); })};
}

}  // namespace seedbed::nn
