#include "nn/linear.h"

#include <ATen/ATen.h>

namespace seedbed::nn {

Linear::Linear(int64_t in, int64_t out, bool with_bias) : weight(add_parameter("weight", at::empty({out, in}))) {
  if (with_bias) bias = add_parameter("bias", at::zeros({out}));
}

at::Tensor Linear::operator()(const at::Tensor& x) const { return at::linear(x, weight, bias); }

Projection::Projection(int64_t in, int64_t out, bool stored_as_convolution)
    : weight(add_parameter("weight", stored_as_convolution ? at::empty({out, in, 1, 1}) : at::empty({out, in}))), bias(add_parameter("bias", at::zeros({out}))) {}

at::Tensor Projection::operator()(const at::Tensor& tokens) const { return at::linear(tokens, weight.flatten(1), bias); }

LayerNorm::LayerNorm(int64_t width, double eps) : weight(add_parameter("weight", at::ones({width}))), bias(add_parameter("bias", at::zeros({width}))), eps_(eps) {}

at::Tensor LayerNorm::operator()(const at::Tensor& x) const { return at::layer_norm(x, weight.sizes(), weight, bias, eps_); }

}  // namespace seedbed::nn
