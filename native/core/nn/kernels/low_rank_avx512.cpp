#include "nn/kernels/low_rank_kernel.h"
#include "nn/kernels/lanes_avx512.h"

namespace seedbed::nn {

const LowRankKernel kLowRankAvx512 = make_low_rank_kernel<Avx512>("avx512");

}  // namespace seedbed::nn
