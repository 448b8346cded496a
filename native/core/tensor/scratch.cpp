#include "tensor/scratch.h"

#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace seedbed {

namespace {

constexpr size_t kLarge = size_t{64} << 10;  // bytes; smaller blocks are quick to get anywhere
constexpr size_t kSlack = size_t{192} << 20;  // bytes that may be kept beyond what was in use at once
constexpr uint8_t kPriority = 1;              // over libtorch's own allocator

#if defined(__linux__)

constexpr size_t kPage = 4096;

size_t whole_pages(size_t size) { return (size + kPage - 1) / kPage * kPage; }

// Mapped by itself, so that it goes back to the system as a whole, and on huge pages where the system has them: a fresh map of features then
// costs one page fault in place of 512. Null when there is no memory.
void* map_large(size_t size) {
  const size_t wanted = whole_pages(size), mapped = wanted + kHugePage;
  void* const base = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return nullptr;
  const auto start = reinterpret_cast<uintptr_t>(base), aligned = (start + kHugePage - 1) / kHugePage * kHugePage;
  if (aligned > start) ::munmap(base, aligned - start);
  const size_t behind = start + mapped - (aligned + wanted);
  if (behind > 0) ::munmap(reinterpret_cast<void*>(aligned + wanted), behind);
  void* const data = reinterpret_cast<void*>(aligned);
  prefer_huge_pages(data, wanted);
  return data;
}

void unmap_large(void* data, size_t size) { ::munmap(data, whole_pages(size)); }

#else

void* map_large(size_t) { return nullptr; }
void unmap_large(void*, size_t) {}

#endif

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
    {
      const std::lock_guard lock(mutex_);
      if (--scopes_ > 0) return;
    }
    release_kept();
  }

  void release_kept() {
    std::multimap<size_t, Block> blocks;
    {
      const std::lock_guard lock(mutex_);
      blocks.swap(store_);
      kept_ = 0;
      most_in_use_ = in_use_;
    }
    for (const auto& [size, block] : blocks) release(block);
  }

 private:
  struct Block {
    void* data;
    size_t size;
    bool mapped;
  };

  static void release(const Block& block) {
    if (block.mapped) unmap_large(block.data, block.size);
    else c10::free_cpu(block.data);
  }

  static Block fresh(size_t size) {
    if (size >= kHugePage)
      if (void* const data = map_large(size); data != nullptr) return {data, size, true};
    return {c10::alloc_cpu(size), size, false};  // which reports what is missing
  }

  void* take(size_t size) {
    std::vector<Block> surplus;
    {
      const std::lock_guard lock(mutex_);
      const auto found = store_.lower_bound(size);
      if (found != store_.end() && found->first <= size + size / 4) {
        const Block block = found->second;
        kept_ -= block.size;
        store_.erase(found);
        return use(block);
      }
      // What is kept must not make the process larger than its calls have been, but for the slack.
      while (!store_.empty() && kept_ + in_use_ + size > std::max(most_in_use_, in_use_ + size) + kSlack) {
        const auto largest = std::prev(store_.end());
        surplus.push_back(largest->second);
        kept_ -= largest->first;
        store_.erase(largest);
      }
    }
    for (const Block& block : surplus) release(block);
    const Block block = fresh(size);
    const std::lock_guard lock(mutex_);
    return use(block);
  }

  void* use(const Block& block) {
    blocks_[block.data] = block;
    in_use_ += block.size;
    most_in_use_ = std::max(most_in_use_, in_use_);
    return block.data;
  }

  static void free(void* data) { get().give(data); }

  void give(void* data) {
    Block block{data, 0, false};
    {
      const std::lock_guard lock(mutex_);
      const auto known = blocks_.find(data);
      if (known != blocks_.end()) {
        block = known->second;
        blocks_.erase(known);
        in_use_ -= block.size;
        if (scopes_ > 0) {
          kept_ += block.size;
          store_.emplace(block.size, block);
          return;
        }
      }
    }
    release(block);
  }

  std::mutex mutex_;
  int scopes_ = 0;
  size_t in_use_ = 0, most_in_use_ = 0, kept_ = 0;  // bytes of large blocks; kept: in the store
  std::multimap<size_t, Block> store_;              // free blocks by size
  std::unordered_map<void*, Block> blocks_;         // large blocks in use
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

void release_scratch() { ScratchAllocator::get().release_kept(); }

ScratchScope::~ScratchScope() { ScratchAllocator::get().close(); }

}  // namespace seedbed
