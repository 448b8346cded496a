#include "fractal/bitmap.h"

#include <algorithm>

#include "fractal/bitmap_kernel.h"
#include "tensor/rng.h"

namespace seedbed::fractal {

namespace {

const BitmapKernel& kernel_for(const Bitmap& bitmap) {
  switch (bitmap.code) {
#if defined(__x86_64__)
    case VectorCode::avx512bf16:
    case VectorCode::avx512: return kBitmapAvx512;
#endif
    default: return kBitmapPortable;
  }
}

}  // namespace

void set_pixels(Bitmap& bitmap, const std::vector<int32_t>& bits) {
  std::vector<uint64_t> spare(bitmap.words.size(), 0);
  kernel_for(bitmap).set(bitmap.words.data(), spare.data(), static_cast<int64_t>(spare.size()), bits.data(), static_cast<int64_t>(bits.size()));
}

int64_t count_set(const Bitmap& bitmap) { return kernel_for(bitmap).count(bitmap.words.data(), static_cast<int64_t>(bitmap.words.size())); }

void dilate_to_patches(Bitmap& bitmap) {
  const int64_t W = bitmap.row_words;
  std::vector<uint64_t> wide(bitmap.words.size());
  for (int64_t y = 0; y < bitmap.size; ++y) kernel_for(bitmap).smear(&wide[y * W], &bitmap.words[y * W], W);
  std::ranges::fill(bitmap.words, 0);
  for (int64_t shift = 1; shift <= 3; ++shift) kernel_for(bitmap).merge(&bitmap.words[shift * W], wide.data(), (bitmap.size - shift) * W);
  const int tail = bitmap.size % 64;
  if (tail == 0) return;
  for (int64_t y = 0; y < bitmap.size; ++y) bitmap.words[y * W + W - 1] &= (uint64_t{1} << tail) - 1;
}

void thin_by_coin(Bitmap& bitmap, uint64_t seed) {
  Rng rng(seed);
  std::vector<uint64_t> coin(bitmap.words.size());
  for (uint64_t& word : coin) word = rng.next();
  // 256/511 is one half and a little: one more place in 511 is drawn and set.
  const uint64_t bits = coin.size() * 64;
  for (uint64_t i = 0; i < bits / 511; ++i) {
    const uint64_t place = rng.below(bits);
    coin[place >> 6] |= uint64_t{1} << (place & 63);
  }
  for (size_t i = 0; i < coin.size(); ++i) bitmap.words[i] &= coin[i];
}

void expand_flipped(const Bitmap& bitmap, uint8_t value, uint8_t* pixels) {
  const int64_t whole = bitmap.size / 64;
  for (int64_t y = 0; y < bitmap.size; ++y) {
    const uint64_t* words = &bitmap.words[y * bitmap.row_words];
    uint8_t* row = pixels + (bitmap.size - 1 - y) * bitmap.size;
    kernel_for(bitmap).expand(words, whole, value, row);
    for (int64_t x = whole * 64; x < bitmap.size; ++x) row[x] = words[whole] >> (x - whole * 64) & 1 ? value : 0;
  }
}

void pack_flipped(const uint8_t* pixels, Bitmap& bitmap) {
  for (int64_t y = 0; y < bitmap.size; ++y) {
    uint64_t* words = &bitmap.words[y * bitmap.row_words];
    const uint8_t* row = pixels + (bitmap.size - 1 - y) * bitmap.size;
    for (int64_t x = 0; x < bitmap.size; ++x) words[x / 64] |= uint64_t{row[x] != 0} << (x % 64);
  }
}

}  // namespace seedbed::fractal
