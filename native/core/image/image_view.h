#pragma once

#include "image/image.h"

namespace seedbed::image {

// A picture that lies in memory of someone else's.
struct ImageView {
  ImageView(const Image& image) : width(image.width), height(image.height), channels(image.channels), pixels(image.pixels.data()) {}
  ImageView(int64_t width, int64_t height, int64_t channels, const uint8_t* pixels) : width(width), height(height), channels(channels), pixels(pixels) {}

  int64_t row_bytes() const { return width * channels; }
  const uint8_t* row(int64_t y) const { return pixels + y * row_bytes(); }

  int64_t width, height, channels;
  const uint8_t* pixels;  // [H, W, C]
};

// [left, left + width) x [top, top + height), pixels.
struct Box {
  int64_t left, top, width, height;
};

}  // namespace seedbed::image
