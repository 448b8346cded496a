#include "fractal/walk.h"

#include <numeric>

namespace seedbed::fractal {

MapDraw::MapDraw(const std::vector<double>& weights) {
  constexpr double kWhole = 4294967296.0;  // 2^32
  const size_t n = weights.size();
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<double> mass;  // in columns
  for (const double weight : weights) mass.push_back(weight / total * static_cast<double>(n));
  std::vector<uint32_t> poor, rich;
  for (uint32_t j = 0; j < n; ++j) (mass[j] < 1 ? poor : rich).push_back(j);
  columns_.resize(n);
  for (uint32_t j = 0; j < n; ++j) columns_[j] = {static_cast<uint64_t>(kWhole), j};
  while (!poor.empty() && !rich.empty()) {
    const uint32_t low = poor.back(), high = rich.back();
    poor.pop_back();
    columns_[low] = {static_cast<uint64_t>(mass[low] * kWhole), high};
    mass[high] -= 1 - mass[low];
    if (mass[high] >= 1) continue;
    rich.pop_back();
    poor.push_back(high);
  }
}

}  // namespace seedbed::fractal
