#include "nn/kernels/fused_kernel.h"
#include "nn/kernels/lanes_portable.h"

namespace seedbed::nn {

const FusedKernel kFusedPortable = make_fused_kernel<Portable>("portable");

}  // namespace seedbed::nn
