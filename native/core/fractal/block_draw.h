#pragma once

// Pictures by a block of threads, written once for the GPU and for a loop, as block_orbit.h is.

#include "fractal/block_orbit.h"
#include "tensor/splitmix.h"

namespace seedbed::fractal {

// A point cannot lie outside the bounds that another walk over the same numbers found.
SEEDBED_DEVICE inline int32_t to_pixel(float v, const Quantiser& q) { return static_cast<int32_t>(std::fmin(std::fma(v - q.low, q.scale, q.offset), q.largest)); }

// Word w of row y of the covered pixels: the points themselves, or the block (x + 1 .. x + 3, y + 1 .. y + 3) of each.
SEEDBED_DEVICE inline uint32_t covered_word(const uint32_t* bitmap, const Canvas& canvas, int32_t y, int32_t w) {
  if (!canvas.patch) return bitmap[y * canvas.row_words + w];
  uint32_t covered = 0;
  for (int32_t down = 1; down <= 3 && down <= y; ++down) {
    const uint32_t* row = bitmap + (y - down) * canvas.row_words;
    const uint32_t here = row[w], before = w > 0 ? row[w - 1] : 0;
    covered |= here << 1 | here << 2 | here << 3 | before >> 31 | before >> 30 | before >> 29;
  }
  return covered;
}

// Word i of the coins: half of a 64-bit draw, as `thin_by_coin` takes them.
SEEDBED_DEVICE inline uint32_t coin_word(uint64_t seed, int32_t i) { return static_cast<uint32_t>(draw_at(seed, i / 2) >> (i % 2 * 32)); }

// Four bits as four bytes of `value`.
SEEDBED_DEVICE inline uint32_t four_pixels(uint32_t bits, uint8_t value) { return ((bits & 15) * 0x00204081U & 0x01010101U) * value; }

SEEDBED_DEVICE inline void write_quad(const uint32_t* bitmap, const Canvas& canvas, uint64_t seed, int32_t i, uint32_t* picture) {
  const int32_t y = i / canvas.row_quads, quad = i % canvas.row_quads, w = quad / 8;
  uint32_t lit = covered_word(bitmap, canvas, y, w);
  if (canvas.coin) lit &= coin_word(seed, y * canvas.row_words + w);
  picture[(canvas.size - 1 - y) * canvas.row_quads + quad] = four_pixels(lit >> (quad % 8 * 4), canvas.value);
}

// Lights place i of those that lift the coin from one half to 256/511, if it is covered. (`Rng::below` would draw again
// once in 2^38 times.)
SEEDBED_DEVICE inline void light_place(const uint32_t* bitmap, const Canvas& canvas, uint64_t seed, int32_t i, uint32_t* picture) {
  const int32_t stride = canvas.row_words * 32, bits = canvas.size * stride;
  const auto place = static_cast<int32_t>(draw_at(seed, bits / 64 + i) % bits);
  const int32_t y = place / stride, x = place % stride;
  if (x >= canvas.size || !(covered_word(bitmap, canvas, y, x / 32) >> (x % 32) & 1)) return;
  reinterpret_cast<uint8_t*>(picture + (canvas.size - 1 - y) * canvas.row_quads)[x] = canvas.value;
}

// Draws one picture [size, row_quads] of pixels, the first row last, from the `starts` that `find_orbit_bounds` gave. `bitmap`
// [size, row_words] is scratch.
template <typename Block>
SEEDBED_DEVICE void draw_orbit(const Block& block, const OrbitTables& tables, const BlockSteps& steps, const Point* starts, const Drawing& drawing, const Canvas& canvas,
                               uint32_t* bitmap, uint32_t* picture) {
  block.each([&](int t) {
    for (int32_t i = t; i < canvas.size * canvas.row_words; i += kBlockThreads) bitmap[i] = 0;
  });
  block.each([&](int t) {
    const PixelMap& map = drawing.map;
    walk(tables, steps, t, starts[t], [&](Point p) { block.set_bit(bitmap, to_pixel(p.y, map.y) * map.stride + to_pixel(p.x, map.x)); });
  });
  block.each([&](int t) {
    for (int32_t i = t; i < canvas.size * canvas.row_quads; i += kBlockThreads) write_quad(bitmap, canvas, drawing.seed, i, picture);
  });
  if (!canvas.coin) return;
  block.each([&](int t) {
    for (int32_t i = t; i < canvas.size * canvas.row_words * 32 / 511; i += kBlockThreads) light_place(bitmap, canvas, drawing.seed, i, picture);
  });
}

}  // namespace seedbed::fractal
