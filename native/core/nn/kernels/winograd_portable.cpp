#include "nn/kernels/winograd_kernel.h"
#include "nn/kernels/lanes_portable.h"

namespace seedbed::nn {

const WinogradKernel kWinogradPortable = make_winograd_kernel<Portable>("portable");

}  // namespace seedbed::nn
