#include "nn/conv.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include "nn/fused.h"
#include "nn/lora.h"
#include "nn/recompute.h"
#include "nn/tensors.h"
#include "nn/winograd.h"

namespace seedbed::nn {

namespace {

constexpr int64_t kMostKeptTurned = 1 << 20;  // elements; of larger weights, packing is cheap beside the convolution, and memory dear

// A convolution that keeps the sides of its map and whose weight and bias have no gradient: that of the map that goes in is a convolution too, by the turned filter.
class FrozenDirect : public torch::autograd::Function<FrozenDirect> {
 public:
  // `turned` is read where x has a gradient.
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& x, const std::optional<at::Tensor>& residual, const at::Tensor& packed, const std::optional<at::Tensor>& turned, const at::Tensor& bias, int64_t padding) {
    ctx->saved_data["turned"] = turned;
    ctx->saved_data["padding"] = padding;
    ctx->saved_data["residual"] = residual.has_value();
    return packed_convolution(x, packed, bias, {1, padding}, residual.value_or(at::Tensor()));
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx, const torch::autograd::variable_list& grads) {
    expect_first_derivative("a frozen convolution");
    auto& saved = ctx->saved_data;
    const at::Tensor grad_x = ctx->needs_input_grad(0) ? packed_convolution(grads[0], saved["turned"].toTensor(), {}, {1, saved["padding"].toInt()}, {}) : at::Tensor();
    return {grad_x, saved["residual"].toBool() ? grads[0] : at::Tensor(), {}, {}, {}, {}};
  }
};

// [out, in, k, k] -> [in, out, k, k], each filter turned round.
at::Tensor turn_filters(const at::Tensor& weight) { return weight.flip({2, 3}).transpose(0, 1); }

}  // namespace

Conv2d::Conv2d(int64_t in, int64_t out, const ConvOptions& options)
    : weight(add_parameter("weight", at::empty({out, in, options.kernel, options.kernel}))), options_(options) {
  if (options.bias) bias = add_parameter("bias", at::zeros({out}));
}

void Conv2d::prepare(const Placement& placement, const std::string& name) {
  const bool packs = packed_.enable(placement, path(name, "weight"));
  winograd_.enable(placement, path(name, "weight"));
  turned_.enable(placement, path(name, "weight"));
  packed_turned_.enable(placement, path(name, "weight"));
  if (!packs) place(weight, placement, path(name, "weight"), at::MemoryFormat::ChannelsLast);  // as the maps lie
  if (bias.defined()) place(bias, placement, path(name, "bias"));
}

bool Conv2d::fits_winograd(const at::Tensor& x) const { return options_.kernel == 3 && options_.stride == 1 && options_.padding == 1 && x.scalar_type() == at::kFloat; }

bool Conv2d::by_winograd(const at::Tensor& x) const { return fits_winograd(x) && winograd_pays(x.size(1), weight.size(0), x.size(2), x.size(3)); }

bool Conv2d::is_frozen(const at::Tensor& x, const at::Tensor& bias) const {
  return (c10::GradMode::is_enabled() || plain_weights()) && packed_.enabled() && x.scalar_type() == at::kFloat && !weight.requires_grad() && !(bias.defined() && bias.requires_grad());
}

bool Conv2d::keeps_sides() const { return options_.stride == 1 && 2 * options_.padding == options_.kernel - 1; }

bool Conv2d::trained_by_winograd(const at::Tensor& x) const {
  return c10::GradMode::is_enabled() && weight.requires_grad() && weight.is_cpu() && fits_winograd(x) &&
         trained_winograd_pays(x.size(0), x.size(1), weight.size(0), x.size(2), x.size(3));
}

at::Tensor Conv2d::run(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& residual) const {
  const LoraSite* const lora = active_lora(*this);
  const at::Tensor y = run_with(lora == nullptr ? nullptr : lora->merged().get(), x, bias, residual);
  return lora == nullptr ? y : lora->add_convolution(y, x, shape());
}

at::Tensor Conv2d::run_with(const MergedWeight* merged, const at::Tensor& x, const at::Tensor& bias, const at::Tensor& residual) const {
  const bool frozen = is_frozen(x, bias) && merged == nullptr;
  if (frozen && by_winograd(x)) {
    const int64_t out_channels = weight.size(0);
    const at::Tensor packed = winograd_.get(weight, pack_winograd);
    const auto turn = [&](const at::Tensor&) { return turn_winograd(packed, out_channels); };
    return winograd_conv3x3_frozen(x, packed, weight.numel() > kMostKeptTurned ? at::Tensor() : turned_.get(weight, turn), out_channels, bias, residual);
  }
  if (frozen && keeps_sides() && weight.numel() <= kMostKeptTurned) {
    const auto pack = [&](at::IntArrayRef sizes) { return [&, sizes](const at::Tensor& w) { return pack_convolution(w, shape(), sizes); }; };
    const std::vector<int64_t> gradient_sizes{x.size(0), weight.size(0), x.size(2), x.size(3)};
    std::optional<at::Tensor> turned;
    if (x.requires_grad()) turned = packed_turned_.get(weight, [&](const at::Tensor& w) { return pack(gradient_sizes)(turn_filters(w)); });
    return FrozenDirect::apply(x, optional(residual), packed_.get(weight, pack(x.sizes())), turned, bias, options_.padding);
  }
  if (trained_by_winograd(x) && merged == nullptr) {
    const bool keeps = weight.numel() <= kMostKeptTurned;
    const at::Tensor packed = keeps ? trained_.get(weight, pack_winograd) : pack_winograd(weight);
    const auto turn = [&](const at::Tensor&) { return turn_winograd(packed, weight.size(0)); };
    return winograd_conv3x3_trained(x, weight, packed, keeps && x.requires_grad() ? trained_turned_.get(weight, turn) : at::Tensor(), bias, residual);
  }
  if (!packed_.active()) {
    const at::Tensor w = merged == nullptr ? weight : merged->of(weight);
    const at::Tensor y = at::conv2d(x, w.to(x.scalar_type()), bias, {shape().stride, shape().stride}, at::IntArrayRef({shape().padding, shape().padding}));
    return residual.defined() ? residual + y : y;
  }
  const bool winograd = by_winograd(x);
  const PackedWeight::Pack pack = winograd ? PackedWeight::Pack(pack_winograd) : [&](const at::Tensor& w) { return pack_convolution(w, shape(), x.sizes()); };
  const at::Tensor packed = merged != nullptr ? merged->packed(winograd ? Packing::winograd : Packing::direct, weight, pack) : (winograd ? winograd_ : packed_).get(weight, pack);
  return winograd ? winograd_conv3x3(x, packed, weight.size(0), bias, residual) : packed_convolution(x, packed, bias, shape(), residual);
}

at::Tensor Conv2d::operator()(const at::Tensor& x) const { return run(x, bias, {}); }

at::Tensor Conv2d::add_to(const at::Tensor& residual, const at::Tensor& x) const { return run(x, bias, residual); }

at::Tensor Conv2d::with_bias(const at::Tensor& x, const at::Tensor& other) const { return run(x, other, {}); }

GroupNorm::GroupNorm(int64_t groups, int64_t channels, double eps)
    : weight(add_parameter("weight", at::ones({channels}))), bias(add_parameter("bias", at::zeros({channels}))), groups_(groups), eps_(eps) {}

at::Tensor GroupNorm::operator()(at::Tensor x) const { return group_norm(std::move(x), groups_, weight, bias, eps_, false); }

at::Tensor GroupNorm::silu(at::Tensor x) const { return group_norm(std::move(x), groups_, weight, bias, eps_, true); }

}  // namespace seedbed::nn
