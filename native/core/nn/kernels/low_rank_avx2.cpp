#include "nn/kernels/low_rank_kernel.h"
#include "nn/kernels/lanes_avx2.h"

namespace seedbed::nn {

const LowRankKernel kLowRankAvx2 = make_low_rank_kernel<Avx2>("avx2");

}  // namespace seedbed::nn
