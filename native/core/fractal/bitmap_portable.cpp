#include "fractal/bitmap_kernel.h"

namespace seedbed::fractal {

namespace {

struct SpreadTable {
  uint64_t bytes[256];  // byte b of entry i is 0xFF where bit b of i is set

  constexpr SpreadTable() : bytes{} {
    for (int i = 0; i < 256; ++i)
      for (int bit = 0; bit < 8; ++bit)
        if (i >> bit & 1) bytes[i] |= uint64_t{0xFF} << (8 * bit);
  }
};

constexpr SpreadTable kSpread;

void expand_words(const uint64_t* words, int64_t count, uint8_t value, uint8_t* bytes) {
  const uint64_t values = 0x0101010101010101ULL * value;
  for (int64_t i = 0; i < count; ++i)
    for (int byte = 0; byte < 8; ++byte) {
      const uint64_t eight = kSpread.bytes[words[i] >> (8 * byte) & 0xFF] & values;
      __builtin_memcpy(bytes + 64 * i + 8 * byte, &eight, 8);
    }
}

}  // namespace

const BitmapKernel kBitmapPortable{expand_words, set_bits, count_words, merge_words, smear_words};

}  // namespace seedbed::fractal
