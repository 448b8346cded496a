#include <algorithm>
#include <cmath>

#include "fractal/orbit.h"
#include "fractal/orbit_frame.h"

namespace seedbed::fractal {

namespace {

constexpr int64_t kDroppedBeforeDivergence = 100;
constexpr double kDiverged = 1e150;  // beyond this the extent of the orbit would overflow

Range range_of(const std::vector<double>& values) {
  const auto [low, high] = std::ranges::minmax(values);
  return {low, high};
}

// In the reference's order of operations.
int32_t to_pixel(double value, const AxisPlacement& axis, int64_t size) {
  const double place = (axis.extent > 0 ? (value - axis.low) / axis.extent * axis.inner : 0.0) + axis.offset;
  return static_cast<int32_t>(std::min(place, static_cast<double>(size - 1)));
}

}  // namespace

std::vector<int32_t> orbit_pixels_exact(const Ifs& ifs, const IndexSequence& sequence, Start start, const Frame& frame) {
  std::vector<double> xs{}, ys{};
  xs.reserve(sequence.points);
  ys.reserve(sequence.points);
  auto [x, y] = start_point(ifs, start);
  xs.push_back(x);
  ys.push_back(y);
  for (uint8_t step : sequence.steps) {
    const AffineMap& m = ifs.affine[step];
    const double next_x = m[0] * x + m[1] * y + m[2];
    y = m[3] * x + m[4] * y + m[5];
    x = next_x;
    if (!(std::abs(x) < kDiverged && std::abs(y) < kDiverged)) {  // fixed: the reference looks for NaN only
      const size_t kept = std::max<int64_t>(0, static_cast<int64_t>(xs.size()) - kDroppedBeforeDivergence);
      xs.resize(kept);
      ys.resize(kept);
      break;
    }
    xs.push_back(x);
    ys.push_back(y);
  }
  if (xs.empty()) return {};
  const auto [across, down] = place_axes(range_of(xs), range_of(ys), frame);
  std::vector<int32_t> pixels(xs.size());
  for (size_t t = 0; t < xs.size(); ++t)
    pixels[t] = to_pixel(ys[t], down, frame.size) * static_cast<int32_t>(frame.stride) + to_pixel(xs[t], across, frame.size);
  return pixels;
}

}  // namespace seedbed::fractal
