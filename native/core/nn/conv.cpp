#include "nn/conv.h"

#include <ATen/ATen.h>

#include "nn/fused.h"

namespace seedbed::nn {

Conv2d::Conv2d(int64_t in, int64_t out, const ConvOptions& options)
    : weight(add_parameter("weight", at::empty({out, in, options.kernel, options.kernel}))), options_(options) {
  if (options.bias) bias = add_parameter("bias", at::zeros({out}));
}

at::Tensor Conv2d::operator()(const at::Tensor& x) const {
  const int64_t stride = options_.stride, padding = options_.padding;
  return at::conv2d(x, weight, bias, {stride, stride}, at::IntArrayRef({padding, padding}));
}

GroupNorm::GroupNorm(int64_t groups, int64_t channels, double eps)
    : weight(add_parameter("weight", at::ones({channels}))), bias(add_parameter("bias", at::zeros({channels}))), groups_(groups), eps_(eps) {}

at::Tensor GroupNorm::operator()(const at::Tensor& x) const { return group_norm(x, groups_, weight, bias, eps_, false); }

at::Tensor GroupNorm::silu(const at::Tensor& x) const { return group_norm(x, groups_, weight, bias, eps_, true); }

}  // namespace seedbed::nn
