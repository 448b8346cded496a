#include "fractal/orbit_frame.h"

#include <algorithm>
#include <cmath>

namespace seedbed::fractal {

std::array<double, 2> start_point(const Ifs& ifs, Start start) {
  if (start == Start::origin) return {0, 0};
  const AffineMap& m = ifs.affine.front();
  const double determinant = (1 - m[0]) * (1 - m[4]) - m[1] * m[3];
  if (std::abs(determinant) < 1e-12) return {0, 0};
  return {((1 - m[4]) * m[2] + m[1] * m[5]) / determinant, (m[3] * m[2] + (1 - m[0]) * m[5]) / determinant};
}

std::array<AxisPlacement, 2> place_axes(Range x, Range y, const Frame& frame) {
  const double inner = static_cast<double>(frame.size - 2 * frame.padding), padding = static_cast<double>(frame.padding);
  const double extent_x = x.high - x.low, extent_y = y.high - y.low, largest = std::max(extent_x, extent_y);
  if (frame.aspect == Aspect::stretch || largest == 0)
    return {{{x.low, extent_x, inner, padding}, {y.low, extent_y, inner, padding}}};
  const auto centred = [&](double extent) { return padding + inner * (1 - extent / largest) / 2; };
  return {{{x.low, largest, inner, centred(extent_x)}, {y.low, largest, inner, centred(extent_y)}}};
}

}  // namespace seedbed::fractal
