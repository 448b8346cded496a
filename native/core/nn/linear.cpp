#include "nn/linear.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "nn/lora.h"

namespace seedbed::nn {

namespace {

at::Tensor pack(const at::Tensor& weight) { return pack_linear(weight.flatten(1)); }

}  // namespace

Linear::Linear(int64_t in, int64_t out, bool with_bias) : Linear(at::empty({out, in}), with_bias ? at::zeros({out}) : at::Tensor()) {}

Linear::Linear(at::Tensor given_weight, at::Tensor given_bias) : weight(add_parameter("weight", std::move(given_weight))) {
  if (given_bias.defined()) bias = add_parameter("bias", std::move(given_bias));
}

void Linear::prepare(const Placement& placement, const std::string& name) {
  if (!packed_.enable(placement, path(name, "weight"))) place(weight, placement, path(name, "weight"));
  if (bias.defined()) place(bias, placement, path(name, "bias"));
}

at::Tensor Linear::run_base(const at::Tensor& x, const at::Tensor& residual, const LoraSite* lora) const {
  const MergedWeight* const merged = lora == nullptr ? nullptr : lora->merged().get();
  if (packed_.active()) return packed_linear(x, merged == nullptr ? packed_.get(weight, pack) : merged->packed(Packing::direct, weight, pack), bias, residual);
  if (merged == nullptr && TrainedLinear::takes(x, weight)) return trained_(x, weight, bias, residual);
  const at::Tensor w = merged == nullptr ? weight : merged->of(weight);
  const at::Tensor y = at::linear(x, w.flatten(1).to(x.scalar_type()), bias);
  return residual.defined() ? residual + y : y;
}

at::Tensor Linear::run(const at::Tensor& x, const at::Tensor& residual) const {
  const LoraSite* const lora = active_lora(*this);
  const bool recorded = c10::GradMode::is_enabled() && lora != nullptr && lora->has_low_rank();
  const bool fused = recorded && lora->is_whole(weight.size(0)) && lora->merged() == nullptr && !weight.requires_grad() && active_precision() == Precision::float32;
  if (fused) return lora->frozen_linear(x, trained_.forms(x, weight), bias, residual);
  const at::Tensor y = run_base(x, residual, lora);
  if (recorded) return lora->with_rows(y, x, 0, weight.size(0));
  return lora == nullptr ? y : lora->add_linear(y, x);
}

at::Tensor Linear::rows(const at::Tensor& x, int64_t first, int64_t count) const {
  const LoraSite* const lora = active_lora(*this);
  const at::Tensor w = lora == nullptr || lora->merged() == nullptr ? weight : lora->merged()->of(weight);
  const at::Tensor y = at::linear(x, w.slice(0, first, first + count), bias.defined() ? bias.slice(0, first, first + count) : bias);
  return lora == nullptr ? y : lora->with_rows(y, x, first, count);
}

void Linear::run_together(std::span<const Linear* const> layers, const at::Tensor& x, std::span<at::Tensor> out) {
  std::vector<LowRankTerm> terms;
  for (size_t i = 0; i < layers.size(); ++i) {
    const LoraSite* const lora = c10::GradMode::is_enabled() ? nullptr : active_lora(*layers[i]);
    out[i] = lora == nullptr ? (*layers[i])(x) : layers[i]->run_base(x, {}, lora);
    if (lora != nullptr && !lora->terms(out[i], x, terms)) out[i] = lora->add_linear(out[i], x);
  }
  if (!terms.empty()) add_low_rank(x, terms);
}

at::Tensor Linear::operator()(const at::Tensor& x) const { return run(x, {}); }

at::Tensor Linear::add_to(const at::Tensor& residual, const at::Tensor& x) const { return run(x, residual); }

Projection::Projection(int64_t in, int64_t out, bool stored_as_convolution)
    : Linear(stored_as_convolution ? at::empty({out, in, 1, 1}) : at::empty({out, in}), at::zeros({out})) {}

LayerNorm::LayerNorm(int64_t width, double eps) : weight(add_parameter("weight", at::ones({width}))), bias(add_parameter("bias", at::zeros({width}))), eps_(eps) {}

at::Tensor LayerNorm::operator()(const at::Tensor& x) const { return at::layer_norm(x, weight.sizes(), weight, bias, eps_); }

}  // namespace seedbed::nn
