#include "fractal/image_copies.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "image/affine.h"
#include "tensor/check.h"
#include "tensor/error.h"
#include "tensor/rng.h"

namespace seedbed::fractal {

namespace {

constexpr uint8_t kBlack = 0;

// Of output pixels to those of the picture.
std::array<double, 6> draw_map(uint64_t seed, int64_t copy, double delta, double side) {
  Rng rng(derive_seed(seed, "image copy", {static_cast<uint64_t>(copy)}));
  std::array<double, 6> noise{};
  for (double& value : noise) value = rng.uniform(-delta / 2, delta / 2);
  const double a = 1 + noise[0], b = noise[1], c = noise[2], d = 1 + noise[3], middle = side / 2;
  return {a, b, middle * (1 - a - b + noise[4]), c, d, middle * (1 - c - d + noise[5])};
}

}  // namespace

at::Tensor draw_image_copies(const image::Image& square, const CopyOptions& options, WorkerPool& pool, const std::function<void(int64_t done)>& on_image) {
  expect(square.width == square.height, "Expected a square picture, received {} x {}", square.width, square.height);
  check_range(options.delta, "delta", 0.0, 1.0);
  check_range(options.first, "first", 0, 1'000'000'000);
  check_range(options.count, "count", 1, 1'000'000);
  const int64_t side = square.width;
  at::Tensor copies = at::empty({options.count, side, side, square.channels}, at::kByte);
  auto* const pixels = copies.mutable_data_ptr<uint8_t>();
  const auto draw = [&](int64_t i, int) {
    const image::Image copy = image::transform_affine(square, draw_map(options.seed, options.first + i, options.delta, static_cast<double>(side)), kBlack);
    std::copy(copy.pixels.begin(), copy.pixels.end(), pixels + i * static_cast<int64_t>(copy.pixels.size()));
  };
  pool.run(options.count, draw, on_image);
  return copies;
}

}  // namespace seedbed::fractal
