#pragma once

#include <cstdint>

namespace seedbed::nn {

// This thread's buffer of at least `count` floats, 64-byte aligned, kept from call to call while the thread lives. Each `slot` is one buffer.
float* scratch(int slot, int64_t count);

}  // namespace seedbed::nn
