#include "nn/kernels/scratch.h"

#include <array>
#include <memory>
#include <new>

#include "tensor/scratch.h"

namespace seedbed::nn {

namespace {

constexpr int64_t kAlignment = 64;
constexpr int kSlots = 4;

struct Release {
  std::align_val_t alignment{kAlignment};
  void operator()(float* p) const { operator delete[](p, alignment); }
};

std::unique_ptr<float[], Release> allocate(int64_t bytes) {
  const auto alignment = static_cast<std::align_val_t>(bytes < static_cast<int64_t>(kHugePage) ? kAlignment : static_cast<int64_t>(kHugePage));
  std::unique_ptr<float[], Release> data(static_cast<float*>(operator new[](static_cast<size_t>(bytes), alignment)), Release{alignment});
  prefer_huge_pages(data.get(), static_cast<size_t>(bytes));
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
    buffer.data = allocate(count * static_cast<int64_t>(sizeof(float)));
    buffer.size = count;
  }
  return buffer.data.get();
}

}  // namespace seedbed::nn
