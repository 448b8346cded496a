#include "nn/fused.h"

#include <ATen/ATen.h>

#include "tensor/check.h"
#include "tensor/error.h"

namespace seedbed::nn {

namespace {

void check_groups(const at::Tensor& x, int64_t groups, const at::Tensor& weight, const at::Tensor& bias) {
  check_shape(x, "group_norm: x", {-1, -1, -1, -1});
  expect(groups > 0 && x.size(1) % groups == 0, "group_norm: expected groups that divide {} channels, received {}", x.size(1), groups);
  if (weight.defined()) check_shape(weight, "group_norm: weight", {x.size(1)});
  if (bias.defined()) check_shape(bias, "group_norm: bias", {x.size(1)});
}

void check_gate(const at::Tensor& x) { expect(x.dim() > 0 && x.size(-1) % 2 == 0, "geglu: expected an even last dimension, received {}", x.dim() > 0 ? x.size(-1) : 0); }

}  // namespace

at::Tensor group_norm_reference(const at::Tensor& x, int64_t groups, const at::Tensor& weight, const at::Tensor& bias, double eps, bool silu) {
  check_groups(x, groups, weight, bias);
  const at::Tensor normal = at::group_norm(x, groups, weight, bias, eps);
  return silu ? at::silu(normal) : normal;
}

at::Tensor geglu_reference(const at::Tensor& x) {
  check_gate(x);
  const auto halves = x.chunk(2, -1);
  return halves[0] * at::gelu(halves[1]);
}

at::Tensor group_norm(const at::Tensor& x, int64_t groups, const at::Tensor& weight, const at::Tensor& bias, double eps, bool silu, std::string_view) {
  return group_norm_reference(x, groups, weight, bias, eps, silu);
}

at::Tensor geglu(const at::Tensor& x, std::string_view) { return geglu_reference(x); }

}  // namespace seedbed::nn
