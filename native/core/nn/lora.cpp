#include "nn/lora.h"

#include <ATen/ATen.h>
#include <fmt/ranges.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "nn/conv.h"
#include "nn/linear.h"
#include "nn/tensors.h"
#include "tensor/check.h"
#include "tensor/error.h"

namespace seedbed::nn {

namespace {

thread_local const ActiveLoras* active = nullptr;

at::Tensor product(const LoraFactors& f) { return at::matmul(f.up.to(at::kFloat), f.down.to(at::kFloat).flatten(1)) * f.scale; }  // [out, in k k]

at::Tensor in_type_of(const at::Tensor& factor, const at::Tensor& x) { return factor.to(x.scalar_type()); }

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Products of one layer's rows with the factors, by kernels where there are some.
struct LowRankProducts {
  const at::Tensor &down, &up;
  double scale;

  bool by_kernel(const at::Tensor& rows) const { return has_low_rank_kernel(rows) && rows.scalar_type() == at::kFloat; }

  // y += scale (x down^T) up^T; returns scale (x down^T).
  at::Tensor add_forward(const at::Tensor& x, at::Tensor y) const {
    if (by_kernel(x)) return add_low_rank_forward(x, down, up, scale, y);
    const at::Tensor hidden = at::mm(x, down.t()) * scale;
    y.addmm_(hidden, up.t());
    return hidden;
  }

  // grad_x += scale (grad up) down, if it is defined; returns scale (grad up).
  at::Tensor add_backward(const at::Tensor& grad, at::Tensor grad_x) const {
    if (by_kernel(grad)) return add_low_rank_backward(grad, down, up, scale, grad_x);
    const at::Tensor hidden = at::mm(grad, up) * scale;
    if (grad_x.defined()) grad_x.addmm_(hidden, down);
    return hidden;
  }

  // rows^T hidden.
  at::Tensor gradient(const at::Tensor& rows, const at::Tensor& hidden) const { return by_kernel(rows) ? low_rank_gradient(rows, hidden, down.size(0)) : at::mm(rows.t(), hidden); }
};

// y = x W^T + bias + residual + scale (x down^T) up^T without a gradient for W and bias. What it saves over the sum of its parts is reading
// and writing maps as large as y: products are added where the last one was written.
class FrozenLinear : public torch::autograd::Function<FrozenLinear> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& given, const std::optional<at::Tensor>& residual, const at::Tensor& down, const at::Tensor& up, const LinearForms& forms,
                            const std::optional<at::Tensor>& bias, double scale) {
    const at::Tensor x = given.contiguous();
    const at::Tensor y = linear_product(x, forms, bias.value_or(at::Tensor()), residual.value_or(at::Tensor()));
    const at::Tensor hidden = LowRankProducts{down, up, scale}.add_forward(rows_of(x), rows_of(y));
    ctx->save_for_backward({x, down, up, hidden});
    save(*ctx, forms);
    ctx->saved_data["scale"] = scale;
    ctx->saved_data["residual"] = residual.has_value();
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    expect_first_derivative("a layer with an adapter");
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &down = saved[1], &up = saved[2], &hidden = saved[3];
    const LinearForms forms = saved_forms(*ctx);
    const LowRankProducts products{down, up, ctx->saved_data["scale"].toDouble()};
    const at::Tensor grad = rows_of(grads[0].contiguous());
    const at::Tensor grad_x = ctx->needs_input_grad(0) ? turned_product(grad, forms) : at::Tensor();
    const at::Tensor grad_hidden = products.add_backward(grad, grad_x);
    return {grad_x.defined() ? grad_x.view(x.sizes()) : grad_x, ctx->saved_data["residual"].toBool() ? grads[0] : at::Tensor(), products.gradient(rows_of(x), grad_hidden).t().contiguous(), products.gradient(grad, hidden).contiguous(), {}, {}, {}};
  }
};

}  // namespace

MergedWeight::MergedWeight(std::vector<LoraFactors> factors, const Placement& placement, const std::string& name) : factors_(std::move(factors)) {
  for (PackedWeight& packed : packed_) packed.enable(placement, name);
}

at::Tensor MergedWeight::of(const at::Tensor& weight) const {
  at::Tensor sum = weight.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
  for (const LoraFactors& f : factors_) {
    const at::Tensor rows = sum.slice(0, f.first_row, f.first_row + f.up.size(0));
    at::Tensor(rows).add_(product(f).to(sum.device()).view_as(rows));
  }
  return sum.to(weight.scalar_type());
}

at::Tensor MergedWeight::packed(Packing packing, const at::Tensor& weight, const PackedWeight::Pack& pack) const {
  return packed_.at(static_cast<size_t>(packing)).get(weight, [&](const at::Tensor& w) { return pack(of(w)); });
}

bool MergedWeight::made_of(const std::vector<LoraFactors>& factors) const {
  return std::ranges::equal(factors_, factors, [](const LoraFactors& a, const LoraFactors& b) { return a.down.is_same(b.down) && a.up.is_same(b.up) && a.scale == b.scale; });
}

const LoraFactors& LoraSite::joined() const {
  if (low_rank_.size() == 1) return low_rank_.front();
  std::call_once(once_, [&] {
    std::vector<at::Tensor> downs, ups;
    for (const LoraFactors& f : low_rank_) {
      downs.push_back(f.down);
      ups.push_back(f.up * f.scale);
    }
    joined_ = {at::cat(downs, 0), at::cat(ups, 1), 1.0};
  });
  return joined_;
}

bool LoraSite::terms(const at::Tensor& y, const at::Tensor& x, std::vector<LowRankTerm>& out) const {
  if (low_rank_.empty()) return true;
  if (!has_low_rank_kernel(x) || !y.is_contiguous() || std::ranges::any_of(low_rank_, [](const LoraFactors& f) { return f.packed == nullptr; })) return false;
  for (const LoraFactors& f : low_rank_) out.push_back({f.packed.get(), f.scale, y, f.first_row});
  return true;
}

at::Tensor LoraSite::add_linear(at::Tensor y, const at::Tensor& x) const {
  if (low_rank_.empty()) return y;
  if (std::vector<LowRankTerm> packed; terms(y, x, packed)) {
    add_low_rank(x, packed);
    return y;
  }
  if (std::ranges::any_of(low_rank_, [&](const LoraFactors& f) { return f.up.size(0) != y.size(-1); })) return y.copy_(with_rows(y, x, 0, y.size(-1)));
  const LoraFactors& f = joined();
  const at::Tensor hidden = at::linear(x, in_type_of(f.down.flatten(1), x));
  y.view({-1, y.size(-1)}).addmm_(hidden.view({-1, hidden.size(-1)}), in_type_of(f.up, x).t(), 1, f.scale);
  return y;
}

at::Tensor LoraSite::with_rows(at::Tensor y, const at::Tensor& x, int64_t first, int64_t count) const {
  for (const LoraFactors& f : low_rank_) {
    const int64_t begin = std::max(first, f.first_row), end = std::min(first + count, f.first_row + f.up.size(0));
    if (begin >= end) continue;
    const at::Tensor up = f.up.slice(0, begin - f.first_row, end - f.first_row);
    const at::Tensor change = at::linear(at::linear(x, in_type_of(f.down.flatten(1), x)), in_type_of(up, x)) * f.scale;
    y = end - begin == count ? y + change : at::slice_scatter(y, y.slice(-1, begin - first, end - first) + change, -1, begin - first, end - first);
  }
  return y;
}

at::Tensor LoraSite::frozen_linear(const at::Tensor& x, const LinearForms& forms, const at::Tensor& bias, const at::Tensor& residual) const {
  const LoraFactors& f = joined();
  return FrozenLinear::apply(x, optional(residual), in_type_of(f.down.flatten(1), x), in_type_of(f.up, x), forms, optional(bias), f.scale);
}

at::Tensor LoraSite::add_convolution(const at::Tensor& y, const at::Tensor& x, const ConvShape& shape) const {
  at::Tensor sum = y;
  for (const LoraFactors& f : low_rank_) {
    const at::Tensor hidden = at::conv2d(x, in_type_of(f.down, x), {}, {shape.stride, shape.stride}, at::IntArrayRef({shape.padding, shape.padding}));
    sum = sum + at::conv2d(hidden, in_type_of(f.up, x).unsqueeze(-1).unsqueeze(-1)) * f.scale;
  }
  return sum;
}

void LoraSite::add_token_rows(const at::Tensor& rows) { token_rows_ = token_rows_.defined() ? at::cat({token_rows_, rows}) : rows; }

LoraSite& ActiveLoras::at(const Module& layer) {
  auto& site = sites_[&layer];
  if (!site) site = std::make_unique<LoraSite>();
  return *site;
}

const LoraSite* ActiveLoras::find(const Module& layer) const {
  const auto found = sites_.find(&layer);
  return found == sites_.end() ? nullptr : found->second.get();
}

void ActiveLoras::add_placeholder(const Module& text_encoder, int64_t vocabulary, std::string token, const at::Tensor& rows) {
  LoraSite& site = at(text_encoder);
  const int64_t before = site.token_rows().defined() ? site.token_rows().size(0) : 0;
  site.add_token_rows(rows);
  placeholders_.push_back({std::move(token), vocabulary + before, rows.size(0)});
}

LoraScope::LoraScope(const ActiveLoras* loras) : outer_(active) { active = loras == nullptr || loras->empty() ? nullptr : loras; }

LoraScope::~LoraScope() { active = outer_; }

const ActiveLoras* active_loras() { return active; }

const LoraSite* active_lora(const Module& layer) { return active == nullptr ? nullptr : active->find(layer); }

std::vector<LoraLayer> lora_layers(const Module& network) {
  std::vector<LoraLayer> layers;
  for (const auto& [name, module] : network.named_modules()) {
    if (const auto* linear = dynamic_cast<const Linear*>(module)) {
      layers.push_back({name, module, linear->weight});
      for (const auto& [part, first, count] : linear->parts()) layers.push_back({name + "." + std::string(part), module, linear->weight.slice(0, first, first + count), first});
    }
    if (const auto* conv = dynamic_cast<const Conv2d*>(module)) layers.push_back({name, module, conv->weight});
  }
  return layers;
}

void check_factors(const LoraLayer& layer, const LoraFactors& f) {
  const std::vector<int64_t> wanted = layer.weight.sizes().vec();
  const int64_t rank = f.down.dim() > 0 ? f.down.size(0) : 0;
  std::vector<int64_t> down = wanted;
  down[0] = rank;
  if (rank < 1 || f.down.sizes() != down || f.up.sizes() != at::IntArrayRef({wanted[0], rank}))
    fail(ErrorCode::weights, "Expected factors [r, {}] and [{}, r] for {}, received [{}] and [{}]", fmt::join(wanted.begin() + 1, wanted.end(), ", "), wanted[0], layer.name,
         fmt::join(f.down.sizes(), ", "), fmt::join(f.up.sizes(), ", "));
  check_finite(f.down, layer.name);
  check_finite(f.up, layer.name);
}

}  // namespace seedbed::nn
