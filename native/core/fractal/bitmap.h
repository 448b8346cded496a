#pragma once

#include <cstdint>
#include <vector>

#include "tensor/vector_code.h"

namespace seedbed::fractal {

// A square picture of one bit per pixel. Rows are padded to whole words.
struct Bitmap {
  explicit Bitmap(int64_t size, VectorCode code = vector_codes().front()) : size(size), row_words((size + 63) / 64), words(size * row_words, 0), code(code) {}

  int64_t stride() const { return row_words * 64; }  // bits from one row to the next

  int64_t size;
  int64_t row_words;
  std::vector<uint64_t> words;  // [size, row_words]
  VectorCode code;              // that works on it
};

// Sets bits y * stride + x.
void set_pixels(Bitmap& bitmap, const std::vector<int32_t>& bits);

int64_t count_set(const Bitmap& bitmap);

// Each set pixel (x, y) becomes the block (x + 1 .. x + 3, y + 1 .. y + 3): where the reference pastes its 3x3 patch.
void dilate_to_patches(Bitmap& bitmap);

// Keeps each set pixel with chance 256/511, independently: the share of ones in a patch mask drawn from 1..511.
void thin_by_coin(Bitmap& bitmap, uint64_t seed);

// Writes `value` or 0 per pixel to `pixels` [size, size], the first row last: the reference flips its picture.
void expand_flipped(const Bitmap& bitmap, uint8_t value, uint8_t* pixels);

// Sets the bits of all `pixels` [size, size] that are not 0 in an empty bitmap: what expand_flipped undoes.
void pack_flipped(const uint8_t* pixels, Bitmap& bitmap);

}  // namespace seedbed::fractal
