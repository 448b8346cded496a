#include "image/affine.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace seedbed::image {

namespace {

// Catmull-Rom-like cubic through v2 and v3 at d in [0, 1), a = -1.
double cubic(double v1, double v2, double v3, double v4, double d) {
  const double p1 = v2, p2 = -v1 + v3, p3 = 2 * (v1 - v2) + v3 - v4, p4 = -v1 + v2 - v3 + v4;
  return p1 + d * (p2 + d * (p3 + d * p4));
}

double round_to_15_digits(double value) { return std::round(value * 1e15) / 1e15; }

struct Place {
  int64_t column[4];  // of the four samples, clamped
  int64_t top;        // row of the first sample, may lie outside
  double dx, dy;
};

Place locate(double x, double y, const Image& image) {
  x -= 0.5;
  y -= 0.5;
  const double left = std::floor(x), top = std::floor(y);
  Place place{{}, static_cast<int64_t>(top) - 1, x - left, y - top};
  for (int k = 0; k < 4; ++k) place.column[k] = std::clamp<int64_t>(static_cast<int64_t>(left) - 1 + k, 0, image.width - 1) * image.channels;
  return place;
}

uint8_t sample(const Image& image, const Place& place, int64_t channel) {
  const auto across = [&](int64_t y) {
    const uint8_t* row = image.row(y) + channel;
    return cubic(row[place.column[0]], row[place.column[1]], row[place.column[2]], row[place.column[3]], place.dx);
  };
  const auto next = [&](int64_t y, double above) { return y >= 0 && y < image.height ? across(y) : above; };
  const double v1 = across(std::clamp<int64_t>(place.top, 0, image.height - 1));
  const double v2 = next(place.top + 1, v1), v3 = next(place.top + 2, v2), v4 = next(place.top + 3, v3);
  const double value = cubic(v1, v2, v3, v4, place.dy);
  return value <= 0 ? 0 : value >= 255 ? 255 : static_cast<uint8_t>(value);
}

}  // namespace

Image transform_affine(const Image& image, const std::array<double, 6>& m, uint8_t fill) {
  Image out(image.width, image.height, image.channels);
  std::ranges::fill(out.pixels, fill);
  for (int64_t y = 0; y < out.height; ++y)
    for (int64_t x = 0; x < out.width; ++x) {
      const double column = static_cast<double>(x) + 0.5, row = static_cast<double>(y) + 0.5;
      const double in_x = m[0] * column + m[1] * row + m[2], in_y = m[3] * column + m[4] * row + m[5];
      if (in_x < 0 || in_x >= static_cast<double>(image.width) || in_y < 0 || in_y >= static_cast<double>(image.height)) continue;
      const Place place = locate(in_x, in_y, image);
      for (int64_t c = 0; c < image.channels; ++c) out.row(y)[x * image.channels + c] = sample(image, place, c);
    }
  return out;
}

std::array<double, 6> rotation_matrix(double degrees, int64_t width, int64_t height) {
  const double angle = -degrees * std::numbers::pi / 180;
  const double cosine = round_to_15_digits(std::cos(angle)), sine = round_to_15_digits(std::sin(angle));
  const double cx = static_cast<double>(width) / 2, cy = static_cast<double>(height) / 2;
  return {cosine, sine, -cosine * cx - sine * cy + cx, -sine, cosine, sine * cx - cosine * cy + cy};
}

}  // namespace seedbed::image
