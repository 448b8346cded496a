#include "nn/kernels/scratch.h"

#include <array>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace seedbed::nn {

namespace {

constexpr size_t kAlignment = 64, kHugePage = 2 << 20;
constexpr int kSlots = 4;

struct Release {
  std::align_val_t alignment{kAlignment};
  void operator()(float* p) const { operator delete[](p, alignment); }
};

// Large buffers lie in huge pages where the system gives them: kernels write to dozens of places far apart at once.
std::unique_ptr<float[], Release> allocate(size_t bytes) {
  const std::align_val_t alignment{bytes < kHugePage ? kAlignment : kHugePage};
  std::unique_ptr<float[], Release> data(static_cast<float*>(operator new[](bytes, alignment)), Release{alignment});
#if defined(__linux__)
  if (bytes >= kHugePage) madvise(data.get(), bytes, MADV_HUGEPAGE);  // a wish: a refusal changes nothing
#endif
  return data;
}

struct Buffer {
  std::unique_ptr<float[], Release> data;
  int64_t size = 0;
};

}  // namespace

float* scratch(int slot, int64_t count) {
  thread_local std::array<Buffer, kSlots> buffers;
  Buffer& buffer = buffers.at(slot);
  if (buffer.size < count) {
    buffer.data.reset();  // first: the two need not live at once
    buffer.size = 0;
    buffer.data = allocate(static_cast<size_t>(count) * sizeof(float));
    buffer.size = count;
  }
  return buffer.data.get();
}

}  // namespace seedbed::nn
