#pragma once

#include <string>

namespace seedbed::fractal {

enum class CudaFailure { missing, out_of_memory, other };

// Throws `Error`, whose header nvcc need not read.
[[noreturn]] void fail_cuda(CudaFailure failure, const std::string& message);

}  // namespace seedbed::fractal
