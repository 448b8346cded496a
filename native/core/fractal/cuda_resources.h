#pragma once

// Owners of what the CUDA runtime lends; for .cu files.

#include <cuda_runtime.h>

#include <cstddef>

#include "fractal/cuda_failure.h"

namespace seedbed::fractal {

// Throws ERR_OUT_OF_MEMORY or ERR_INTERNAL unless `status` is success. `task` completes "Expected CUDA to".
inline void check_cuda(cudaError_t status, const char* task) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // or the next check would see this failure again
  const auto failure = status == cudaErrorMemoryAllocation ? CudaFailure::out_of_memory : CudaFailure::other;
  fail_cuda(failure, std::string("Expected CUDA to ") + task + ", it does not: " + cudaGetErrorString(status));
}

// Makes a device the thread's own until the end of the scope.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device) {
    check_cuda(cudaGetDevice(&before_), "name the current device");
    check_cuda(cudaSetDevice(device), "change the device");
  }
  ~DeviceGuard() { cudaSetDevice(before_); }
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int before_ = 0;
};

class CudaStream {
 public:
  explicit CudaStream(int device) {
    const DeviceGuard guard(device);
    check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "make a stream");
  }
  ~CudaStream() { cudaStreamDestroy(stream_); }
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;

  cudaStream_t get() const { return stream_; }
  void wait() const { check_cuda(cudaStreamSynchronize(stream_), "finish the pictures"); }

 private:
  cudaStream_t stream_ = nullptr;
};

// Memory of the current device that grows to the largest size asked for.
template <typename T>
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  ~DeviceBuffer() { cudaFree(data_); }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

  T* data() const { return data_; }

  // What was there is lost.
  void reserve(size_t count) {
    if (count <= count_) return;
    cudaFree(data_);
    data_ = nullptr;
    count_ = 0;
    check_cuda(cudaMalloc(&data_, count * sizeof(T)), "lend memory");
    count_ = count;
  }

  void upload(const T* from, size_t count, const CudaStream& stream) {
    reserve(count);
    check_cuda(cudaMemcpyAsync(data_, from, count * sizeof(T), cudaMemcpyHostToDevice, stream.get()), "copy to the device");
  }

  void download(T* to, size_t count, const CudaStream& stream) const {
    check_cuda(cudaMemcpyAsync(to, data_, count * sizeof(T), cudaMemcpyDeviceToHost, stream.get()), "copy from the device");
  }

 private:
  T* data_ = nullptr;
  size_t count_ = 0;
};

}  // namespace seedbed::fractal
