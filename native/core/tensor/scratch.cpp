#include "tensor/scratch.h"

#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>

namespace seedbed {

namespace {

constexpr size_t kLarge = size_t{256} << 10;  // bytes; smaller blocks are quick to get anywhere
constexpr size_t kMostKept = size_t{192} << 20;  // bytes in the store
constexpr uint8_t kPriority = 1;              // over libtorch's own allocator

// On huge pages where the system has them: a fresh map of features then costs one page fault in place of 512.
void* allocate_large(size_t size) {
  if (size < kHugePage) return c10::alloc_cpu(size);
  void* data = nullptr;
  if (::posix_memalign(&data, kHugePage, size) != 0) return c10::alloc_cpu(size);  // which reports what is missing
  prefer_huge_pages(data, size);
  return data;
}

// libtorch's CPU allocator with a store of large blocks.
class ScratchAllocator final : public c10::Allocator {
 public:
  static ScratchAllocator& get() {
    static auto* allocator = new ScratchAllocator;  // outlives every tensor
    return *allocator;
  }

  c10::DataPtr allocate(size_t size) override {
    void* data = size < kLarge ? c10::alloc_cpu(size) : take(size);
    return {data, data, &ScratchAllocator::free, c10::Device(c10::kCPU)};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &ScratchAllocator::free; }

  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }

  void open() {
    const std::lock_guard lock(mutex_);
    ++scopes_;
  }

  void close() {
    std::multimap<size_t, void*> blocks;
    {
      const std::lock_guard lock(mutex_);
      if (--scopes_ > 0) return;
      blocks.swap(store_);
      kept_ = 0;
    }
    for (const auto& [size, data] : blocks) c10::free_cpu(data);
  }

 private:
  void* take(size_t size) {
    {
      const std::lock_guard lock(mutex_);
      const auto found = store_.lower_bound(size);
      if (found != store_.end() && found->first <= size + size / 4) {
        void* data = found->second;
        sizes_[data] = found->first;
        kept_ -= found->first;
        store_.erase(found);
        return data;
      }
    }
    void* data = allocate_large(size);
    const std::lock_guard lock(mutex_);
    sizes_[data] = size;
    return data;
  }

  static void free(void* data) { get().give(data); }

  void give(void* data) {
    {
      const std::lock_guard lock(mutex_);
      const auto known = sizes_.find(data);
      if (known != sizes_.end()) {
        const size_t size = known->second;
        sizes_.erase(known);
        if (scopes_ > 0 && kept_ + size <= kMostKept) {
          kept_ += size;
          store_.emplace(size, data);
          return;
        }
      }
    }
    c10::free_cpu(data);
  }

  std::mutex mutex_;
  int scopes_ = 0;
  size_t kept_ = 0;                              // bytes in the store
  std::multimap<size_t, void*> store_;           // free blocks by size
  std::unordered_map<void*, size_t> sizes_;      // large blocks in use
};

}  // namespace

void prefer_huge_pages([[maybe_unused]] void* data, [[maybe_unused]] size_t bytes) {
#if defined(__linux__)
  if (std::align(kHugePage, kHugePage, data, bytes) != nullptr) ::madvise(data, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
}

ScratchScope::ScratchScope() {
  static const bool installed = [] {
    c10::SetCPUAllocator(&ScratchAllocator::get(), kPriority);
    return true;
  }();
  static_cast<void>(installed);
  ScratchAllocator::get().open();
}

ScratchScope::~ScratchScope() { ScratchAllocator::get().close(); }

}  // namespace seedbed
