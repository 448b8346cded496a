#include "fractal/image_copy.h"

#include <array>

#include "image/affine.h"
#include "tensor/check.h"
#include "tensor/error.h"
#include "tensor/rng.h"

namespace seedbed::fractal {

namespace {

constexpr uint8_t kBlack = 0;

// Of output pixels to those of the picture.
std::array<double, 6> draw_map(const CopyOptions& o, double side) {
  Rng rng(derive_seed(o.seed, "image copy", {static_cast<uint64_t>(o.copy)}));
  std::array<double, 6> noise{};
  for (double& value : noise) value = rng.uniform(-o.delta / 2, o.delta / 2);
  const double a = 1 + noise[0], b = noise[1], c = noise[2], d = 1 + noise[3], middle = side / 2;
  return {a, b, middle * (1 - a - b + noise[4]), c, d, middle * (1 - c - d + noise[5])};
}

}  // namespace

image::Image draw_image_copy(const image::Image& square, const CopyOptions& options) {
  expect(square.width == square.height, "Expected a square picture, received {} x {}", square.width, square.height);
  check_range(options.delta, "delta", 0.0, 1.0);
  check_range(options.copy, "copy", 0, 1'000'000'000);
  return image::transform_affine(square, draw_map(options, static_cast<double>(square.width)), kBlack);
}

}  // namespace seedbed::fractal
