#include "image/affine.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace seedbed::image {

namespace {

double round_to_15_digits(double value) { return std::round(value * 1e15) / 1e15; }

// The picture with its border repeated outward, in memory of the thread's.
PaddedPicture padded(const Image& image, const PictureKernel& kernel) {
  thread_local std::vector<uint8_t> memory;
  const int64_t bytes = image.channels == 1 ? 1 : 4, stride = (image.width + 2 * kMargin) * bytes;
  memory.resize(stride * (image.height + 2 * kMargin));
  for (int64_t y = -kMargin; y < image.height + kMargin; ++y) {
    const uint8_t* const row = image.row(std::clamp<int64_t>(y, 0, image.height - 1));
    uint8_t* const out = memory.data() + (y + kMargin) * stride;
    uint8_t *const first = out + kMargin * bytes, *const last = first + (image.width - 1) * bytes;
    image.channels == 1 ? static_cast<void>(std::copy_n(row, image.width, first)) : kernel.spread(row, image.width, first);
    for (int64_t x = 1; x <= kMargin; ++x) {
      std::copy_n(first, bytes, first - x * bytes);
      std::copy_n(last, bytes, last + x * bytes);
    }
  }
  return {memory.data() + kMargin * stride + kMargin * bytes, stride, image.width, image.height};
}

}  // namespace

Image transform_affine(const Image& image, const std::array<double, 6>& m, uint8_t fill, const PictureKernel& kernel) {
  Image out(image.width, image.height, image.channels);
  std::ranges::fill(out.pixels, fill);
  const PaddedPicture from = padded(image, kernel);
  const auto draw = image.channels == 1 ? kernel.affine_gray : kernel.affine_colour;
  for (int64_t y = 0; y < out.height; ++y) draw(from, {m.data(), y, out.width, out.row(y)});
  return out;
}

std::array<double, 6> rotation_matrix(double degrees, int64_t width, int64_t height) {
  const double angle = -degrees * std::numbers::pi / 180;
  const double cosine = round_to_15_digits(std::cos(angle)), sine = round_to_15_digits(std::sin(angle));
  const double cx = static_cast<double>(width) / 2, cy = static_cast<double>(height) / 2;
  return {cosine, sine, -cosine * cx - sine * cy + cx, -sine, cosine, sine * cx - cosine * cy + cy};
}

}  // namespace seedbed::image
