#pragma once

// The attention kernel of one instruction set.

#include "nn/kernels/attention_backward.h"
#include "nn/kernels/attention_forward.h"

namespace seedbed::nn {

namespace {

template <typename Lanes>
constexpr AttentionKernel make_attention_kernel(const char* name) {
  return {name,
          Lanes::kVectors * Lanes::kWidth,
          attention_scratch<Lanes>,
          attention_pack<Lanes>,
          attention_forward<Lanes>,
          attention_gradient_scratch<Lanes>,
          attention_backward<Lanes>};
}

}  // namespace

}  // namespace seedbed::nn
