#pragma once

// Attention without a mask, for one head and one block of queries, in tiles that stay in registers and the first caches.
//
// Everything is transposed: a vector holds one number of `kWidth` queries, keys and head size are looped over. So the softmax
// runs down the lanes without shuffles, neither head sizes nor numbers of keys are padded to vectors, and the operand
// that is not a vector (keys, values) is broadcast from memory. The gradients of keys and values alone hold numbers of
// the head size in their vectors, since they are sums over queries.

#include "nn/kernels/lanes.h"

namespace seedbed::nn {

// Rows of a head: row i begins at data + i * stride elements; its d elements are contiguous.
struct Rows {
  void* data;
  int64_t stride;
  Element element;
};

struct AttentionHead {
  Rows k, v;      // [keys, d]
  int64_t keys, d;
};

struct AttentionBlock {
  Rows q, out;    // [queries, d]
  int64_t queries;  // at most the kernel's
  float scale;
  float* lse;     // [queries], log2 of the sum of 2^(score * log2 e); may be null
};

// Gradients of one head with respect to some of its keys. Those of q are the part that comes from these keys.
struct AttentionGradient {
  AttentionHead head;
  Rows q, out, grad_out;  // [queries, d]
  int64_t queries;
  float scale;
  const float* lse;  // [queries]
  Rows grad_q;           // [queries, d]; null data where it is not wanted
  Rows grad_k, grad_v;   // [keys, d]; both null where they are not wanted
};

// Floats of scratch memory, 64-byte aligned.
struct AttentionScratch {
  int64_t packed;  // one head's keys and values
  int64_t block;   // one block of queries
};

struct AttentionKernel {
  const char* name;
  int64_t queries;  // of one block
  AttentionScratch (*scratch)(int64_t keys, int64_t d);
  void (*pack)(const AttentionHead&, float* packed);
  void (*forward)(const AttentionHead&, const AttentionBlock&, const float* packed, float* scratch);
  int64_t (*gradient_scratch)(int64_t keys, int64_t d);
  void (*backward)(const AttentionGradient&, float* scratch);
};

extern const AttentionKernel kAttentionPortable;
extern const AttentionKernel kAttentionAvx2;
extern const AttentionKernel kAttentionAvx512;
extern const AttentionKernel kAttentionAvx512Bf16;  // bfloat16 alone

}  // namespace seedbed::nn
