#pragma once

// Loops over bytes of pictures, written once with the compiler's vectors and compiled once per instruction set. Nothing here may call inline
// library code: the linker could pick the copy that was compiled for AVX-512. All codes give the same bytes.

#include <cstdint>

namespace seedbed::image {

// Rows of bytes, `stride` apart.
struct Rows {
  const uint8_t* data;
  int64_t stride;
};

// A picture whose border is repeated outward by `kMargin` pixels on each side; gray with 1 byte a pixel, colour with 4, of which the last is unused.
struct PaddedPicture {
  const uint8_t* data;  // pixel (0, 0), inside the margin
  int64_t stride;       // bytes
  int64_t width, height;
};

inline constexpr int64_t kMargin = 2;

// Row y of Pillow's bicubic affine transform: pixel x shows the point (m0 (x + 0.5) + m1 (y + 0.5) + m2, m3 (x + 0.5) + m4 (y + 0.5) + m5), and stays as it is where that lies outside.
struct AffineRow {
  const double* m;  // [6]
  int64_t y, width;
  uint8_t* out;  // [width, 1 or 3]
};

// A row of Pillow's sharpness: each pixel moved away from the mean of those around it, `factor` below 1 towards it. The first and last pixel are not written.
struct SharpenRow {
  const uint8_t *above, *here, *below;
  int64_t bytes, channels;
  float factor;
  uint8_t* out;
};

struct PictureKernel {
  const char* name;
  // Byte (r, c) of `in` [rows, columns] to (c, r) of `out` [columns, rows], whose rows are `out_stride` apart.
  void (*transpose)(Rows in, int64_t rows, int64_t columns, uint8_t* out, int64_t out_stride);
  // Sums of `taps` rows, each times its weight (a number with 22 bits behind the point), rounded and cut off to bytes.
  void (*combine)(Rows in, const int32_t* weights, int64_t taps, int64_t length, uint8_t* out);
  void (*affine_gray)(const PaddedPicture&, const AffineRow&);
  void (*affine_colour)(const PaddedPicture&, const AffineRow&);
  void (*sharpen)(const SharpenRow&);
  // Colour pixels [count, 3], moved away from their gray, `factor` below 1 towards it.
  void (*saturate)(uint8_t* pixels, int64_t count, float factor);
  // Pixels of 3 bytes to the first three of 4.
  void (*spread)(const uint8_t* in, int64_t count, uint8_t* out);
  // Interleaved bytes [count, channels] to planes [3, count] of value * scale + shift; gray gives the same byte to all three.
  void (*planes)(const uint8_t* in, int64_t count, int64_t channels, const float* scale, const float* shift, float* out);
};

extern const PictureKernel kPicturePortable;
extern const PictureKernel kPictureAvx2;
extern const PictureKernel kPictureAvx512;

// The best that this processor runs, or that of a vector code by name. Throws ERR_INVALID_ARGUMENT.
const PictureKernel& picture_kernel(const char* code = "");

inline constexpr int kWeightBits = 22;

}  // namespace seedbed::image
