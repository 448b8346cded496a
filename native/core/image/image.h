#pragma once

#include <cstdint>
#include <vector>

namespace seedbed::image {

// An 8-bit picture, channels interleaved: 1 (gray) or 3 (RGB).
struct Image {
  Image() = default;
  Image(int64_t width, int64_t height, int64_t channels) : width(width), height(height), channels(channels), pixels(width * height * channels) {}

  int64_t row_bytes() const { return width * channels; }
  const uint8_t* row(int64_t y) const { return pixels.data() + y * row_bytes(); }
  uint8_t* row(int64_t y) { return pixels.data() + y * row_bytes(); }

  int64_t width = 0;
  int64_t height = 0;
  int64_t channels = 0;
  std::vector<uint8_t> pixels;  // [H, W, C]
};

// Makes the picture one of these sizes; what it shows is lost. Memory of the same size is used again.
void reshape(Image& image, int64_t width, int64_t height, int64_t channels);

// The part [left, left + width) x [top, top + height), which must lie inside.
Image crop(const Image& image, int64_t left, int64_t top, int64_t width, int64_t height);

void flip_left_right(Image& image);

// Gray by ITU-R 601 in Pillow's fixed point: (19595 R + 38470 G + 7471 B + 32768) >> 16.
Image to_gray(const Image& image);

inline uint8_t clip8(int value) { return static_cast<uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value); }

}  // namespace seedbed::image
