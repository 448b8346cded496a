#pragma once

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

}  // namespace seedbed
