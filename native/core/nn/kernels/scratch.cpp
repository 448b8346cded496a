#include "nn/kernels/scratch.h"

#include <array>
#include <memory>
#include <new>

namespace seedbed::nn {

namespace {

constexpr std::align_val_t kAlignment{64};
constexpr int kSlots = 4;

struct Release {
  void operator()(float* p) const { operator delete[](p, kAlignment); }
};

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
    buffer.data.reset(static_cast<float*>(operator new[](static_cast<size_t>(count) * sizeof(float), kAlignment)));
    buffer.size = count;
  }
  return buffer.data.get();
}

}  // namespace seedbed::nn
