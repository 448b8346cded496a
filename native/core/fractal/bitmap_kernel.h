#pragma once

// Row operations on bitmaps, compiled once per instruction set like the orbit's; nothing here may call inline library code.

#include <cstdint>

namespace seedbed::fractal {

struct BitmapKernel {
  // The 64 bits of `word` as 64 bytes: `value` where set, else 0.
  void (*expand)(const uint64_t* words, int64_t count, uint8_t value, uint8_t* bytes);
  // Sets bits of a bitmap of `words` words. Odd ones go into `spare` (all 0 before and after) first, so that two stores
  // to one word seldom wait for each other.
  void (*set)(uint64_t* bitmap, uint64_t* spare, int64_t words, const int32_t* bits, int64_t count);
  int64_t (*count)(const uint64_t* words, int64_t count);
  // out[i] |= in[i]
  void (*merge)(uint64_t* out, const uint64_t* in, int64_t count);
  // out = the row moved by 1, 2 and 3 bits towards larger x, joined. `out` and `in` must not overlap.
  void (*smear)(uint64_t* out, const uint64_t* in, int64_t count);
};

extern const BitmapKernel kBitmapPortable;
extern const BitmapKernel kBitmapAvx512;

namespace {

inline int64_t count_words(const uint64_t* words, int64_t count) {
  int64_t total = 0;
  for (int64_t i = 0; i < count; ++i) total += __builtin_popcountll(words[i]);
  return total;
}

inline void merge_words(uint64_t* out, const uint64_t* in, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] |= in[i];
}

inline void set_bits(uint64_t* bitmap, uint64_t* spare, int64_t words, const int32_t* bits, int64_t count) {
  int64_t i = 0;
  for (; i + 2 <= count; i += 2) {
    const auto even = static_cast<uint32_t>(bits[i]), odd = static_cast<uint32_t>(bits[i + 1]);
    bitmap[even >> 6] |= uint64_t{1} << (even & 63);
    spare[odd >> 6] |= uint64_t{1} << (odd & 63);
  }
  if (i < count) bitmap[static_cast<uint32_t>(bits[i]) >> 6] |= uint64_t{1} << (bits[i] & 63);
  for (i = 0; i < words; ++i) {
    bitmap[i] |= spare[i];
    spare[i] = 0;
  }
}

inline void smear_words(uint64_t* out, const uint64_t* in, int64_t count) {
  if (count > 0) out[0] = in[0] << 1 | in[0] << 2 | in[0] << 3;
  for (int64_t i = 1; i < count; ++i) out[i] = (in[i] << 1 | in[i - 1] >> 63) | (in[i] << 2 | in[i - 1] >> 62) | (in[i] << 3 | in[i - 1] >> 61);
}

}  // namespace

}  // namespace seedbed::fractal
