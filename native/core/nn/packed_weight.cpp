#include "nn/packed_weight.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/GradMode.h>

#include "nn/attention.h"
#include "nn/recompute.h"
#include "nn/tensors.h"
#include "tensor/check.h"
#include "tensor/file.h"

namespace seedbed::nn {

namespace {

using OptionalTensor = std::optional<at::Tensor>;
using Scalars = c10::List<std::optional<at::Scalar>>;
using Text = std::string_view;
using OptionalText = std::optional<std::string_view>;

template <typename Signature>
c10::TypedOperatorHandle<Signature> find(const char* name, const char* overload = "") {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, overload).typed<Signature>();
}

}  // namespace

bool PackedWeight::enable(const Placement& placement, std::string name) {
  dtype_ = placement.dtype;
  name_ = std::move(name);
  enabled_ = placement.device.is_cpu() && (dtype_ == at::kFloat || (dtype_ == at::kBFloat16 && attention_kernels().front().starts_with("avx512")));
  return enabled_;
}

bool PackedWeight::active() const { return enabled_ && !c10::GradMode::is_enabled() && !plain_weights(); }

at::Tensor PackedWeight::get(const at::Tensor& weight, const Pack& pack) const {
  const std::lock_guard lock(mutex_);
  if (packed_.defined()) return packed_;
  check_finite(weight, name_);
  packed_ = pack(weight.to(dtype_));
  release_mapped_pages(weight.const_data_ptr(), weight.nbytes());
  return packed_;
}

at::Tensor TrainedPack::get(const at::Tensor& weight, const PackedWeight::Pack& pack) const {
  const std::lock_guard lock(mutex_);
  if (const int64_t version = weight._version(); version != version_) {
    const c10::NoGradGuard no_grad;
    packed_ = pack(weight.detach());
    version_ = version;
  }
  return packed_;
}

at::Tensor pack_linear(const at::Tensor& weight) {
  static const auto op = find<at::Tensor(const at::Tensor&, std::optional<int64_t>)>("mkldnn::_reorder_linear_weight");
  return op.call(weight.contiguous(), std::nullopt);
}

at::Tensor packed_linear(const at::Tensor& x, const at::Tensor& packed, const at::Tensor& bias, const at::Tensor& residual) {
  static const auto plain = find<at::Tensor(const at::Tensor&, const at::Tensor&, const OptionalTensor&, Text, Scalars, OptionalText)>("mkldnn::_linear_pointwise");
  static const auto binary = find<at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&, const OptionalTensor&, Text)>("mkldnn::_linear_pointwise", "binary");
  if (residual.defined()) return binary.call(x, residual, packed, optional(bias), "add");
  return plain.call(x, packed, optional(bias), "none", Scalars(), std::nullopt);
}

at::Tensor pack_convolution(const at::Tensor& weight, const ConvShape& s, at::IntArrayRef input_size) {
  static const auto op = find<at::Tensor(const at::Tensor&, at::IntArrayRef, at::IntArrayRef, at::IntArrayRef, int64_t, at::OptionalIntArrayRef)>("mkldnn::_reorder_convolution_weight");
  return op.call(weight.contiguous(at::MemoryFormat::ChannelsLast), {s.padding, s.padding}, {s.stride, s.stride}, {1, 1}, 1, input_size);
}

at::Tensor packed_convolution(const at::Tensor& x, const at::Tensor& packed, const at::Tensor& bias, const ConvShape& s, const at::Tensor& residual) {
  using Sizes = at::IntArrayRef;
  static const auto plain = find<at::Tensor(const at::Tensor&, const at::Tensor&, const OptionalTensor&, Sizes, Sizes, Sizes, int64_t, Text, Scalars, OptionalText)>("mkldnn::_convolution_pointwise");
  static const auto binary = find<at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&, const OptionalTensor&, Sizes, Sizes, Sizes, int64_t, Text, std::optional<at::Scalar>,
                                             OptionalText, Scalars, OptionalText)>("mkldnn::_convolution_pointwise", "binary");
  const std::array<int64_t, 2> padding{s.padding, s.padding}, stride{s.stride, s.stride}, dilation{1, 1};
  if (!residual.defined()) return plain.call(x, packed, optional(bias), padding, stride, dilation, 1, "none", Scalars(), std::nullopt);
  return binary.call(x, residual, packed, optional(bias), padding, stride, dilation, 1, "add", std::nullopt, std::nullopt, Scalars(), std::nullopt);
}

}  // namespace seedbed::nn
