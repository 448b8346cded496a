#pragma once

#include <cstdint>

#include "tensor/device_code.h"

namespace seedbed {

// SplitMix64 (Steele, Lea, Flood 2014): draw i of a stream is mix(seed + (i + 1) kGolden), so any draw can be had alone.
inline constexpr uint64_t kGolden = 0x9E3779B97F4A7C15ULL;

SEEDBED_DEVICE inline uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

SEEDBED_DEVICE inline uint64_t draw_at(uint64_t seed, uint64_t i) { return mix(seed + (i + 1) * kGolden); }

}  // namespace seedbed
