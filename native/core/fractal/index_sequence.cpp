#include "fractal/index_sequence.h"

#include <algorithm>
#include <deque>
#include <mutex>
#include <random>
#include <utility>

namespace seedbed::fractal {

namespace {

constexpr size_t kKept = 16;
constexpr int64_t kLargestKept = 4'000'000;  // points

struct Kept {
  int64_t points;
  uint32_t seed;
  std::vector<double> weights;
  std::shared_ptr<const IndexSequence> sequence;
};

// The draws of the sequence used last: other weights cut the same ones, and drawing them takes longer than cutting. Not safe to call from two threads.
const std::vector<double>& frozen_draws(int64_t count, uint32_t seed) {
  static std::vector<double> draws;
  static std::pair<int64_t, uint32_t> made_for{-1, 0};
  if (made_for != std::pair(count, seed)) draws = mersenne_doubles(count, seed);
  made_for = {count, seed};
  return draws;
}

}  // namespace

std::vector<double> mersenne_doubles(int64_t count, uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<double> draws(count);
  for (double& draw : draws) {
    const uint32_t high = generator() >> 5, low = generator() >> 6;  // 27 and 26 bits
    draw = (high * 67108864.0 + low) / 9007199254740992.0;
  }
  return draws;
}

std::vector<uint8_t> map_indices(const std::vector<double>& draws, const std::vector<double>& weights) {
  std::vector<double> thresholds;
  double sum = 0;
  for (double weight : weights) thresholds.push_back(sum += weight);
  thresholds.back() = 1;  // fixed: the reference repeats the previous point when the sum ends below a draw
  std::vector<uint8_t> indices(draws.size(), 0);
  for (double threshold : thresholds)
    for (size_t i = 0; i < draws.size(); ++i) indices[i] += static_cast<uint8_t>(draws[i] > threshold);
  return indices;
}

IndexSequence::IndexSequence(const std::vector<double>& draws, const std::vector<double>& weights, int64_t points)
    : points(points), chunk((points + kLanes - 1) / kLanes), steps(map_indices(draws, weights)), interleaved(chunk * kLanes, 0) {
  steps.resize(points - 1);
  for (int64_t lane = 0; lane < kLanes; ++lane)
    for (int64_t row = 0; row < chunk && lane * chunk + row < points - 1; ++row) interleaved[row * kLanes + lane] = steps[lane * chunk + row];
}

std::shared_ptr<const IndexSequence> IndexSequence::frozen(int64_t points, uint32_t seed, const std::vector<double>& weights) {
  static std::mutex mutex;
  static std::deque<Kept> kept;
  const std::lock_guard lock(mutex);
  for (const Kept& entry : kept)
    if (entry.points == points && entry.seed == seed && entry.weights == weights) return entry.sequence;
  if (points > kLargestKept) return std::make_shared<const IndexSequence>(mersenne_doubles(points - 1, seed), weights, points);
  auto sequence = std::make_shared<const IndexSequence>(frozen_draws(points - 1, seed), weights, points);
  if (kept.size() == kKept) kept.pop_front();
  return kept.emplace_back(points, seed, weights, std::move(sequence)).sequence;
}

}  // namespace seedbed::fractal
