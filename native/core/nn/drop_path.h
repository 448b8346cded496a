#pragma once

#include <ATen/core/Tensor.h>

#include "nn/forward.h"

namespace seedbed::nn {

// Stochastic depth (Huang et al. 2016): in training, leaves out whole residual branches, one draw per sample, and scales the rest. branch [B, ...].
at::Tensor drop_path(const at::Tensor& branch, double probability, const Forward& forward);

// Of block `i` of `blocks`, when the last one drops with `last`: grows linearly from 0.
double drop_path_of_block(double last, int64_t i, int64_t blocks);

}  // namespace seedbed::nn
