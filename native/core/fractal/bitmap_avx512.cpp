#include <immintrin.h>

#include "fractal/bitmap_kernel.h"

namespace seedbed::fractal {

namespace {

void expand_words(const uint64_t* words, int64_t count, uint8_t value, uint8_t* bytes) {
  const __m512i values = _mm512_set1_epi8(static_cast<char>(value));
  for (int64_t i = 0; i < count; ++i) _mm512_storeu_si512(bytes + 64 * i, _mm512_maskz_mov_epi8(words[i], values));
}

}  // namespace

const BitmapKernel kBitmapAvx512{expand_words, set_bits, count_words, merge_words, smear_words};

}  // namespace seedbed::fractal
