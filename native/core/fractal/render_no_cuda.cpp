#include "fractal/block_device.h"
#include "tensor/error.h"

namespace seedbed::fractal {

std::string missing_cuda() {
  return "Expected an addon that was compiled with CUDA's fractal renderer, this one was not: install nvcc and run SEEDBED_CUDA=1 npx seedbed setup --rebuild";
}

std::unique_ptr<BlockDevice> open_cuda() { fail(ErrorCode::no_cuda, "{}", missing_cuda()); }

}  // namespace seedbed::fractal
