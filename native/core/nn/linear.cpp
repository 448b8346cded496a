#include "nn/linear.h"

#include <ATen/ATen.h>

namespace seedbed::nn {

Linear::Linear(int64_t in, int64_t out) : weight(add_parameter("weight", at::zeros({out, in}))), bias(add_parameter("bias", at::zeros({out}))) {}

at::Tensor Linear::operator()(const at::Tensor& x) const { return at::linear(x, weight, bias); }

LayerNorm::LayerNorm(int64_t width, double eps) : weight(add_parameter("weight", at::ones({width}))), bias(add_parameter("bias", at::zeros({width}))), eps_(eps) {}

at::Tensor LayerNorm::operator()(const at::Tensor& x) const { return at::layer_norm(x, weight.sizes(), weight, bias, eps_); }

}  // namespace seedbed::nn
