#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>
#include <vector>

// Attention without a mask: softmax(q k^T * scale) v for each batch entry and head.

namespace seedbed::nn {

// q [B, Lq, heads, d], k and v [B, Lk, heads, d]: float32 or bfloat16, the last dimension contiguous, any other strides
// (views of a linear layer's output). Returns [B, Lq, heads, d], contiguous, of q's type; sums are float32.
// Never holds the matrix of probabilities, nor does its gradient. The result does not depend on the number of threads.
// Another device or element type goes through libtorch's own attention.
// `kernel` asks for a vector code by name (attention_kernels()); empty for the best this processor has.
// Throws ERR_SHAPE, ERR_DTYPE.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale, std::string_view kernel = {});

// The same in plain tensor operations: what tests compare with.
at::Tensor attention_reference(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale);

// The vector codes that run on this processor, best first.
std::vector<std::string_view> attention_kernels();

}  // namespace seedbed::nn
