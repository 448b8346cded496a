#include "nn/kernels/attention_loops.h"
#include "nn/kernels/lanes_avx512.h"

namespace seedbed::nn {

const AttentionKernel kAttentionAvx512 = make_attention_kernel<Avx512>("avx512");

}  // namespace seedbed::nn
