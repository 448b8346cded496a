#include "image/image.h"

#include <algorithm>
#include <array>

#include "tensor/error.h"

namespace seedbed::image {

void reshape(Image& image, int64_t width, int64_t height, int64_t channels) {
  image.width = width;
  image.height = height;
  image.channels = channels;
  image.pixels.resize(width * height * channels);
}

Image crop(const Image& image, int64_t left, int64_t top, int64_t width, int64_t height) {
  expect(left >= 0 && top >= 0 && width > 0 && height > 0 && left + width <= image.width && top + height <= image.height,
         "Expected a crop inside {} x {}, received {} x {} at ({}, {})", image.width, image.height, width, height, left, top);
  Image part(width, height, image.channels);
  for (int64_t y = 0; y < height; ++y) std::copy_n(image.row(top + y) + left * image.channels, part.row_bytes(), part.row(y));
  return part;
}

void flip_left_right(Image& image) {
  using Colour = std::array<uint8_t, 3>;
  for (int64_t y = 0; y < image.height; ++y) {
    uint8_t* const row = image.row(y);
    if (image.channels == 1) {
      std::reverse(row, row + image.width);
    } else {
      auto* const pixels = reinterpret_cast<Colour*>(row);
      std::reverse(pixels, pixels + image.width);
    }
  }
}

Image to_gray(const Image& image) {
  if (image.channels == 1) return image;
  Image gray(image.width, image.height, 1);
  for (int64_t i = 0; i < image.width * image.height; ++i) {
    const uint8_t* rgb = &image.pixels[i * 3];
    gray.pixels[i] = static_cast<uint8_t>((rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 32768) >> 16);
  }
  return gray;
}

}  // namespace seedbed::image
