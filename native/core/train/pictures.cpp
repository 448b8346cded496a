#include "train/pictures.h"

#include <ATen/ATen.h>

#include "tensor/check.h"
#include "tensor/error.h"
#include "tensor/rng.h"

namespace seedbed::train {

namespace {

constexpr double kMostPsnr = 100;

}  // namespace

void check_pictures(const at::Tensor& pictures, const char* name, int64_t factor) {
  check_dtype(pictures, name, at::kByte);
  check_shape(pictures, name, {-1, -1, -1, 3});
  expect(pictures.size(0) > 0, "Expected at least one picture for {}, received none", name);
  const int64_t height = pictures.size(1), width = pictures.size(2);
  expect(height > 0 && width > 0 && height % factor == 0 && width % factor == 0, "Expected {} with sides that are multiples of {}, received {} x {}", name, factor, width, height);
}

at::Tensor crops_of(const at::Tensor& pictures, const std::vector<int64_t>& places, int64_t side, uint64_t seed, int64_t first_position) {
  const auto b = static_cast<int64_t>(places.size()), height = pictures.size(1), width = pictures.size(2);
  const bool whole = side == 0;
  at::Tensor cut = at::empty({b, whole ? height : side, whole ? width : side, 3});
  for (int64_t i = 0; i < b; ++i) {
    at::Tensor picture = pictures[places[static_cast<size_t>(i)]];
    if (!whole) {
      Rng rng(derive_seed(seed, "crop", {static_cast<uint64_t>(first_position + i)}));
      const auto y = static_cast<int64_t>(rng.below(static_cast<uint64_t>(height - side + 1))), x = static_cast<int64_t>(rng.below(static_cast<uint64_t>(width - side + 1)));
      picture = picture.slice(0, y, y + side).slice(1, x, x + side);
    }
    cut[i].copy_(picture);
  }
  return cut.div_(127.5).sub_(1).permute({0, 3, 1, 2});
}

at::Tensor pixels_of(const at::Tensor& pictures, const std::vector<int64_t>& places) { return crops_of(pictures, places, 0, 0, 0); }

at::Tensor psnr(const at::Tensor& a, const at::Tensor& b) {
  const auto levels = [](const at::Tensor& x) { return ((x + 1) * 127.5).round().clamp(0, 255); };
  const at::Tensor error = (levels(a) - levels(b)).square().flatten(1).mean(1, false, at::kDouble);
  return (10 * at::log10(255.0 * 255.0 / error)).clamp_max(kMostPsnr);
}

}  // namespace seedbed::train
