#include "nn/kernels/attention_loops.h"
#include "nn/kernels/lanes_avx512bf16.h"

namespace seedbed::nn {

const AttentionKernel kAttentionAvx512Bf16 = make_attention_kernel<Avx512Pairs>("avx512bf16");

}  // namespace seedbed::nn
