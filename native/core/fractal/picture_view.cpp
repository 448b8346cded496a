#include "fractal/picture_view.h"

#include <vector>

namespace seedbed::fractal {

namespace {

constexpr int64_t kSurveyed = int64_t{1} << 20;  // points that the frame and the exposure are chosen by
constexpr int64_t kSurveySide = 256;             // cells of the exposure's histogram along each side
constexpr double kTail = 0.001;     // share of the points at each end of an axis that may be far out ...
constexpr double kReach = 0.25;     // ... yet are shown this share of the others' extent beyond them
constexpr double kExposure = 0.98;  // the share of the lit cells that is not over-exposed

struct Points {
  std::vector<double> x, y;
};

Points survey(const Ifs& ifs, const MapDraw& draw, uint64_t seed) {
  Points points;
  walk(ifs, draw, derive_seed(seed, "survey"), kSurveyed, [&](double x, double y, double) {
    points.x.push_back(x);
    points.y.push_back(y);
  });
  return points;
}

// From the smallest to the largest value, less what is far out.
Range shown_range(std::vector<double> values) {
  const auto [low, high] = std::ranges::minmax(values);
  const auto tail = static_cast<int64_t>(kTail * static_cast<double>(values.size()));
  const auto at = [&](int64_t place) {
    std::nth_element(values.begin(), values.begin() + place, values.end());
    return values[place];
  };
  const double from = at(tail), to = at(static_cast<int64_t>(values.size()) - 1 - tail), reach = kReach * (to - from);
  return {std::max(low, from - reach), std::min(high, to + reach)};
}

// Points that make full brightness, where the mean is one point: what most of the lit cells have at most.
double exposure(const Points& points, const View& view) {
  std::vector<int32_t> cells(kSurveySide * kSurveySide, 0);
  for (size_t i = 0; i < points.x.size(); ++i) {
    const int64_t x = view.x.cell(points.x[i], kSurveySide), y = view.y.cell(points.y[i], kSurveySide);
    if (x >= 0 && y >= 0) ++cells[y * kSurveySide + x];
  }
  std::erase(cells, 0);
  if (cells.empty()) return 1;
  const auto bright = cells.begin() + static_cast<int64_t>(kExposure * static_cast<double>(cells.size() - 1));
  std::nth_element(cells.begin(), bright, cells.end());
  return *bright * static_cast<double>(kSurveySide * kSurveySide) / static_cast<double>(kSurveyed);
}

}  // namespace

View choose_view(const Ifs& ifs, const MapDraw& draw, uint64_t seed, const Frame& frame) {
  const Points points = survey(ifs, draw, seed);
  View view;
  if (points.x.empty()) return view;
  const auto [across, up] = place_axes(shown_range(points.x), shown_range(points.y), frame);
  const auto side = static_cast<double>(frame.size);
  view.x = Axis(across, side);
  view.y = Axis(up, side);
  view.white = exposure(points, view);
  return view;
}

}  // namespace seedbed::fractal
