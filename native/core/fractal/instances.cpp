#include "fractal/instances.h"

#include <ATen/ops/flip.h>

#include "tensor/check.h"
#include "tensor/error.h"

namespace seedbed::fractal {

namespace {

// Where a, b, c, d, e, f lie in a map.
constexpr int kParameters[] = {0, 1, 3, 4, 2, 5};

std::vector<int64_t> dims_of(Flip flip) {
  switch (flip) {
    case Flip::none: return {};
    case Flip::horizontal: return {1};
    case Flip::vertical: return {0};
    case Flip::both: return {0, 1};
  }
  fail(ErrorCode::internal, "Unknown flip {}", static_cast<int>(flip));
}

}  // namespace

std::vector<Ifs> weighted_copies(const Ifs& ifs, double width) {
  check_ifs(ifs);
  check_range(width, "width", 0.0, 1.0);
  std::vector<Ifs> copies{ifs};
  for (const int parameter : kParameters)
    for (const double factor : {1 - 2 * width, 1 - width, 1 + width, 1 + 2 * width}) {
      Ifs& copy = copies.emplace_back(ifs);
      for (AffineMap& map : copy.affine) map[parameter] *= factor;
    }
  return copies;
}

void flip_picture(const at::Tensor& picture, Flip flip) {
  if (flip != Flip::none) picture.copy_(at::flip(picture, dims_of(flip)));
}

void flip_pictures(at::Tensor& images, const std::vector<Flip>& flips) {
  const auto count = static_cast<size_t>(images.size(0));
  expect(flips.size() == count, "Expected {} flips, one per system, received {}", count, flips.size());
  for (size_t i = 0; i < count; ++i) flip_picture(images[static_cast<int64_t>(i)], flips[i]);
}

}  // namespace seedbed::fractal
