#include "fractal/block_draw.h"
#include "fractal/cuda_resources.h"

namespace seedbed::fractal {

namespace {

constexpr int kDevice = 0;
constexpr size_t kSharedBitmap = 47 * 1024;  // bytes; with the maps inside the 48 KiB that every GPU gives a block

struct CudaBlock {
  template <typename Phase>
  __device__ void each(Phase phase) const {
    phase(static_cast<int>(threadIdx.x));
    __syncthreads();
  }
  __device__ void set_bit(uint32_t* bitmap, int32_t bit) const { atomicOr(bitmap + bit / 32, 1U << (bit % 32)); }
};

// Steps are read from global memory: a warp takes 128 bytes for 32 bits of each thread's steps, the same for all
// blocks, and shared memory is left to the bitmaps.
__global__ void __launch_bounds__(kBlockThreads) bounds_kernel(const Orbit* orbits, BlockSteps steps, Point* starts, OrbitBounds* bounds) {
  __shared__ BoundsMemory memory;
  const size_t i = blockIdx.x;
  find_orbit_bounds(CudaBlock{}, orbits[i], steps, memory, starts + i * kBlockThreads, bounds[i]);
}

// `bitmaps` [drawings, size, row_words], unless they lie in shared memory; `pictures` [L, size, row_quads].
template <bool shared>
__global__ void __launch_bounds__(kBlockThreads)
    draw_kernel(const Orbit* orbits, BlockSteps steps, const Point* starts, const Drawing* drawings, Canvas canvas, uint32_t* bitmaps, uint32_t* pictures) {
  __shared__ OrbitTables tables;
  extern __shared__ uint32_t shared_bitmap[];
  const Drawing drawing = drawings[blockIdx.x];
  const size_t i = drawing.orbit, words = canvas.size * canvas.row_words, quads = canvas.size * canvas.row_quads;
  load_tables(CudaBlock{}, orbits[i].tables, tables);
  draw_orbit(CudaBlock{}, tables, steps, starts + i * kBlockThreads, drawing, canvas, shared ? shared_bitmap : bitmaps + blockIdx.x * words, pictures + i * quads);
}

class CudaDevice final : public BlockDevice {
 public:
  std::vector<OrbitBounds> find_bounds(const std::vector<Orbit>& orbits, const BlockSteps& steps) override {
    const DeviceGuard guard(kDevice);
    count_ = orbits.size();
    orbits_.upload(orbits.data(), count_, stream_);
    words_.upload(steps.words, static_cast<size_t>(steps.rows) * kBlockThreads, stream_);
    steps_ = steps;
    steps_.words = words_.data();
    starts_.reserve(count_ * kBlockThreads);
    bounds_.reserve(count_);
    bounds_kernel<<<static_cast<unsigned>(count_), kBlockThreads, 0, stream_.get()>>>(orbits_.data(), steps_, starts_.data(), bounds_.data());
    check_cuda(cudaGetLastError(), "walk the orbits");
    std::vector<OrbitBounds> bounds(count_);
    bounds_.download(bounds.data(), count_, stream_);
    stream_.wait();
    return bounds;
  }

  void draw(const std::vector<Drawing>& drawings, const Canvas& canvas, uint8_t* pixels) override {
    const DeviceGuard guard(kDevice);
    const size_t size = canvas.size, row_bytes = size_t{4} * canvas.row_quads;
    pictures_.reserve(count_ * size * canvas.row_quads);
    if (!drawings.empty()) launch_draw(drawings, canvas);
    check_cuda(cudaMemcpy2DAsync(pixels, size, pictures_.data(), row_bytes, size, count_ * size, cudaMemcpyDeviceToHost, stream_.get()), "copy the pictures");
    stream_.wait();
  }

 private:
  void launch_draw(const std::vector<Drawing>& drawings, const Canvas& canvas) {
    const auto blocks = static_cast<unsigned>(drawings.size());
    const size_t words = static_cast<size_t>(canvas.size) * canvas.row_words, bytes = words * sizeof(uint32_t);
    drawings_.upload(drawings.data(), drawings.size(), stream_);
    if (bytes <= kSharedBitmap) {
      draw_kernel<true><<<blocks, kBlockThreads, bytes, stream_.get()>>>(orbits_.data(), steps_, starts_.data(), drawings_.data(), canvas, nullptr, pictures_.data());
    } else {
      bitmaps_.reserve(drawings.size() * words);
      draw_kernel<false><<<blocks, kBlockThreads, 0, stream_.get()>>>(orbits_.data(), steps_, starts_.data(), drawings_.data(), canvas, bitmaps_.data(), pictures_.data());
    }
    check_cuda(cudaGetLastError(), "draw the pictures");
  }

  CudaStream stream_{kDevice};
  DeviceBuffer<Orbit> orbits_;        // [L]
  DeviceBuffer<Point> starts_;        // [L, kBlockThreads]
  DeviceBuffer<OrbitBounds> bounds_;  // [L]
  DeviceBuffer<uint32_t> words_;      // [rows, kBlockThreads]
  DeviceBuffer<Drawing> drawings_;    // at most [L]
  DeviceBuffer<uint32_t> bitmaps_;    // [drawings, size, row_words]
  DeviceBuffer<uint32_t> pictures_;   // [L, size, row_quads]
  BlockSteps steps_{};
  size_t count_ = 0;  // L
};

}  // namespace

std::string missing_cuda() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count > 0) return "";
  cudaGetLastError();
  return std::string("Expected a GPU that can draw fractals, the CUDA runtime finds none (") + cudaGetErrorString(status) +
         "): see that nvidia-smi lists one and that the driver is new enough";
}

std::unique_ptr<BlockDevice> open_cuda() {
  const std::string missing = missing_cuda();
  if (!missing.empty()) fail_cuda(CudaFailure::missing, missing);
  return std::make_unique<CudaDevice>();
}

}  // namespace seedbed::fractal
