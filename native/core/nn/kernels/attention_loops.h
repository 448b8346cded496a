#pragma once

// The attention kernel of one instruction set. `Op` is what its products multiply: the lanes themselves, or pairs of
// bfloat16, in words of 32 bits; sums are always `Op::Sum`.

#include "nn/kernels/attention_backward.h"
#include "nn/kernels/attention_forward.h"

namespace seedbed::nn {

namespace {

template <typename Op>
constexpr AttentionKernel make_attention_kernel(const char* name) {
  return {name,
          Op::kVectors * Op::Sum::kWidth,
          attention_scratch<Op>,
          attention_pack<Op>,
          attention_forward<Op>,
          attention_gradient_scratch<Op>,
          attention_backward<Op>};
}

}  // namespace

}  // namespace seedbed::nn
