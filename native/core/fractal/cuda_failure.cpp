#include "fractal/cuda_failure.h"

#include "tensor/error.h"

namespace seedbed::fractal {

namespace {

ErrorCode code_of(CudaFailure failure) {
  switch (failure) {
    case CudaFailure::missing: return ErrorCode::no_cuda;
    case CudaFailure::out_of_memory: return ErrorCode::out_of_memory;
    case CudaFailure::other: return ErrorCode::internal;
  }
  return ErrorCode::internal;
}

}  // namespace

void fail_cuda(CudaFailure failure, const std::string& message) { throw Error(code_of(failure), message); }

}  // namespace seedbed::fractal
