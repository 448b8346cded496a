#include "nn/kernels/winograd_kernel.h"
#include "nn/kernels/lanes_avx2.h"

namespace seedbed::nn {

const WinogradKernel kWinogradAvx2 = make_winograd_kernel<Avx2>("avx2");

}  // namespace seedbed::nn
