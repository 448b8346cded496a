#include "nn/kernels/attention_loops.h"
#include "nn/kernels/lanes_portable.h"

namespace seedbed::nn {

const AttentionKernel kAttentionPortable = make_attention_kernel<Portable>("portable");

}  // namespace seedbed::nn
