#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

namespace seedbed::nn {

// Normal with standard deviation `std`, cut off at -+2 (timm's `trunc_normal_`: inverse error function of a uniform).
void trunc_normal_(at::Tensor x, double std, at::Generator& generator);

// Uniform in -+1 / sqrt(fan_in), PyTorch's default for convolutions and linear layers.
void fan_in_uniform_(at::Tensor x, int64_t fan_in, at::Generator& generator);

}  // namespace seedbed::nn
