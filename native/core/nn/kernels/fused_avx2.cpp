#include "nn/kernels/fused_kernel.h"
#include "nn/kernels/lanes_avx2.h"

namespace seedbed::nn {

const FusedKernel kFusedAvx2 = make_fused_kernel<Avx2>("avx2");

}  // namespace seedbed::nn
