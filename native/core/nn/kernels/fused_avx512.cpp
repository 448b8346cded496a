#include "nn/kernels/fused_kernel.h"
#include "nn/kernels/lanes_avx512.h"

namespace seedbed::nn {

const FusedKernel kFusedAvx512 = make_fused_kernel<Avx512>("avx512");

}  // namespace seedbed::nn
