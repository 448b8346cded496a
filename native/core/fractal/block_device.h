#pragma once

// The border between the renderer and what runs its blocks of threads: plain data, so that nvcc reads no libtorch.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "fractal/orbit_kernel.h"

namespace seedbed::fractal {

inline constexpr int kBlockThreads = 256;

// The steps of one chaos game, cut into a chunk per thread. The words that all threads read at once lie side by side.
struct BlockSteps {
  const uint32_t* words;  // [rows, kBlockThreads], the earliest step in the lowest bits
  int32_t rows;           // words of a chunk
  int32_t bits;           // of a step: 1, 2 or 4
  int32_t points;         // P, the start point included
};

struct Point {
  float x, y;
};

struct Orbit {
  OrbitTables tables;
  Point start;
};

struct OrbitBounds {
  float low_x, high_x, low_y, high_y;
  bool usable;  // all points within single precision
};

// One picture: where points go, and the seed of its coins.
struct Drawing {
  int32_t orbit;
  PixelMap map;
  uint64_t seed;
};

struct Canvas {
  int32_t size;       // pixels, both sides
  int32_t row_words;  // of a bitmap, 32 pixels each; even, as the words of `Bitmap` have 64
  int32_t row_quads;  // of a picture, four pixels each
  bool patch;         // 3x3 patches, not points
  bool coin;          // of a patch's pixels 256 in 511 are lit, not all
  uint8_t value;      // gray level of lit pixels
};

// Runs a block of threads per picture.
class BlockDevice {
 public:
  virtual ~BlockDevice() = default;

  // Walks the orbits [L], which the device keeps for `draw`.
  virtual std::vector<OrbitBounds> find_bounds(const std::vector<Orbit>& orbits, const BlockSteps& steps) = 0;

  // Draws orbit i into picture i of `pixels` [L, size, size]; pictures without a drawing may hold anything.
  virtual void draw(const std::vector<Drawing>& drawings, const Canvas& canvas, uint8_t* pixels) = 0;
};

// Why no GPU can render, and what to do; empty when one can.
std::string missing_cuda();

// The first GPU. Throws ERR_NO_CUDA when there is none. Its calls throw ERR_OUT_OF_MEMORY and, for other failures, ERR_INTERNAL.
std::unique_ptr<BlockDevice> open_cuda();

// The same blocks by plain loops on the calling thread: what the GPU's code is compared with.
std::unique_ptr<BlockDevice> emulate_blocks();

}  // namespace seedbed::fractal
