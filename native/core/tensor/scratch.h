#pragma once

#include <cstddef>

namespace seedbed {

// While one lives, large blocks that libtorch frees on the CPU are kept and used again, so that a network's calls do not
// ask the system for fresh (and zeroed) pages at every layer. When the last one goes, all kept blocks are given back.
class ScratchScope {
 public:
  ScratchScope();
  ~ScratchScope();
  ScratchScope(const ScratchScope&) = delete;
  ScratchScope& operator=(const ScratchScope&) = delete;
};

// Gives back what is kept at the moment: what was just freed belonged to something that does not come again, as a model.
void release_scratch();

constexpr size_t kHugePage = size_t{2} << 20;  // bytes

// Asks for huge pages for the part of the memory that was not written yet: fewer page faults, and kernels write to dozens of
// places far apart at once. A wish; small blocks and systems without them stay as they are.
void prefer_huge_pages(void* data, size_t bytes);

}  // namespace seedbed
