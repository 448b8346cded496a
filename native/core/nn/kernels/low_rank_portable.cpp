#include "nn/kernels/low_rank_kernel.h"
#include "nn/kernels/lanes_portable.h"

namespace seedbed::nn {

const LowRankKernel kLowRankPortable = make_low_rank_kernel<Portable>("portable");

}  // namespace seedbed::nn
