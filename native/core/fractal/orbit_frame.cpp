#include "fractal/orbit_frame.h"

#include <algorithm>
#include <cmath>

namespace seedbed::fractal {

namespace {

Quantiser make_quantiser(const AxisPlacement& axis, int64_t size) {
  const double scale = axis.extent > 0 ? axis.inner / axis.extent : 0;
  return {static_cast<float>(axis.low), static_cast<float>(scale), static_cast<float>(axis.offset), static_cast<float>(size - 1)};
}

}  // namespace

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

PixelMap make_pixel_map(Range x, Range y, const Frame& frame) {
  const auto [across, down] = place_axes(x, y, frame);
  return {make_quantiser(across, frame.size), make_quantiser(down, frame.size), static_cast<int32_t>(frame.stride)};
}

OrbitTables make_tables(const Ifs& ifs) {
  OrbitTables tables{};
  for (size_t j = 0; j < ifs.affine.size(); ++j) {
    const AffineMap& m = ifs.affine[j];
    tables.a[j] = static_cast<float>(m[0]);
    tables.b[j] = static_cast<float>(m[1]);
    tables.e[j] = static_cast<float>(m[2]);
    tables.c[j] = static_cast<float>(m[3]);
    tables.d[j] = static_cast<float>(m[4]);
    tables.f[j] = static_cast<float>(m[5]);
  }
  return tables;
}

}  // namespace seedbed::fractal
