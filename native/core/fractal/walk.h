#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "fractal/ifs.h"

namespace seedbed::fractal {

// Draws map j with chance weights[j], to 2^-32, by one number of the generator (alias method, Walker 1977).
class MapDraw {
 public:
  explicit MapDraw(const std::vector<double>& weights);

  uint32_t operator()(Rng& rng) const {
    const uint64_t bits = rng.next();
    const auto column = static_cast<uint32_t>((bits >> 32) * columns_.size() >> 32);
    return static_cast<uint32_t>(bits) < columns_[column].keep ? column : columns_[column].other;
  }

 private:
  struct Column {
    uint64_t keep;  // of 2^32 draws, those that stay in the column
    uint32_t other;
  };
  std::vector<Column> columns_;
};

// Calls `visit(x, y, hue)` for `points` points of chaos games that run side by side: independent steps hide each other's latency.
// `hue` in [0, 1] tells of the maps that led there: each draws it half-way to a place of its own (Draves & Reckase 2003, the colours of
// fractal flames). Each game begins at the origin and is let run before its points count; one that diverges begins anew.
template <typename Visit>
void walk(const Ifs& ifs, const MapDraw& draw, uint64_t seed, int64_t points, Visit visit) {
  constexpr int kLanes = 8, kSettle = 100;
  constexpr double kDiverged = 1e150;  // beyond this the extent of the orbit would overflow
  Rng rng(seed);
  const double hue_step = ifs.affine.size() > 1 ? 0.5 / static_cast<double>(ifs.affine.size() - 1) : 0.0;
  double x[kLanes], y[kLanes], hue[kLanes];
  int settle[kLanes];
  const auto begin = [&](int lane) {
    x[lane] = y[lane] = hue[lane] = 0;
    settle[lane] = kSettle;
  };
  for (int lane = 0; lane < kLanes; ++lane) begin(lane);
  for (int64_t step = -kSettle * kLanes; step < points; step += kLanes)
    for (int lane = 0; lane < kLanes; ++lane) {
      const uint32_t map = draw(rng);
      const AffineMap& m = ifs.affine[map];
      const double next_x = m[0] * x[lane] + m[1] * y[lane] + m[2];
      y[lane] = m[3] * x[lane] + m[4] * y[lane] + m[5];
      x[lane] = next_x;
      hue[lane] = hue[lane] / 2 + map * hue_step;
      if (!(std::abs(x[lane]) < kDiverged && std::abs(y[lane]) < kDiverged)) {
        begin(lane);
        continue;
      }
      if (settle[lane] > 0)
        --settle[lane];
      else if (step + lane < points)
        visit(x[lane], y[lane], hue[lane]);
    }
}

}  // namespace seedbed::fractal
