#include "nn/kernels/attention_loops.h"
#include "nn/kernels/lanes_avx2.h"

namespace seedbed::nn {

const AttentionKernel kAttentionAvx2 = make_attention_kernel<Avx2>("avx2");

}  // namespace seedbed::nn
