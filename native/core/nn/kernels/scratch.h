#pragma once

#include <cstdint>

namespace seedbed::nn {

// This thread's buffer of at least `count` floats, 64-byte aligned, kept from call to call. Each `slot` is one buffer.
float* scratch(int slot, int64_t count);

// Asks for huge pages for the part of the memory that was not written yet: fewer page faults, and kernels write to dozens of
// places far apart at once. A wish; small blocks and systems without them stay as they are.
void prefer_huge_pages(void* data, int64_t bytes);

}  // namespace seedbed::nn
