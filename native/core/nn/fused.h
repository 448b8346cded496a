#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>

// Element-wise work that libtorch does in several passes, done in one.

namespace seedbed::nn {

// Group normalisation of x [B, C, H, W], contiguous or channels-last, float32 or bfloat16, followed by silu when `silu`:
// (x - mean) / sqrt(variance + eps) * weight + bias over each group of C / groups channels. weight, bias [C], or undefined.
// The result has the layout of x and does not depend on the number of threads. x itself when nobody else holds it and no
// gradient is needed: memory for large maps is dear.
// `kernel` asks for a vector code by name (attention_kernels()). Throws ERR_SHAPE, ERR_DTYPE, ERR_INVALID_ARGUMENT.
at::Tensor group_norm(at::Tensor x, int64_t groups, const at::Tensor& weight, const at::Tensor& bias, double eps, bool silu, std::string_view kernel = {});
at::Tensor group_norm_reference(const at::Tensor& x, int64_t groups, const at::Tensor& weight, const at::Tensor& bias, double eps, bool silu);

// The gated gelu of transformers: x [.., 2 D] -> x[.., :D] * gelu(x[.., D:]), with the exact gelu (erf).
at::Tensor geglu(const at::Tensor& x, std::string_view kernel = {});
at::Tensor geglu_reference(const at::Tensor& x);

// float32 x as bfloat16, and bfloat16 x as float32, with `added` [as x] added if it is defined: libtorch's numbers, without gradients.
at::Tensor to_bfloat16(const at::Tensor& x, std::string_view kernel = {});
at::Tensor from_bfloat16(const at::Tensor& x, const at::Tensor& added = {}, std::string_view kernel = {});

}  // namespace seedbed::nn
