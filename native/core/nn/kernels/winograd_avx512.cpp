#include "nn/kernels/winograd_kernel.h"
#include "nn/kernels/lanes_avx512.h"

namespace seedbed::nn {

const WinogradKernel kWinogradAvx512 = make_winograd_kernel<Avx512>("avx512");

}  // namespace seedbed::nn
