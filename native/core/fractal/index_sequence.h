#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace seedbed::fractal {

// `count` uniform doubles in [0, 1) of a Mersenne Twister with `seed`, two 32-bit words each: the numbers of
// `numpy.random.seed(seed); numpy.random.rand(count)`.
std::vector<double> mersenne_doubles(int64_t count, uint32_t seed);

// The map used at each step of the chaos game: the first j with draw <= cumsum(weights)_j, the last map when rounding
// leaves the sum below a draw.
std::vector<uint8_t> map_indices(const std::vector<double>& draws, const std::vector<double>& weights);

// The steps of one chaos game and, for the vector kernels, the same steps cut into 16 consecutive chunks that lie side
// by side: lane c of row t belongs to point c * chunk + t.
struct IndexSequence {
  static constexpr int kLanes = 16;

  // The sequence of `points` points for these weights. The few used last in the process are kept: drawing one costs as
  // much as rendering ten pictures.
  static std::shared_ptr<const IndexSequence> frozen(int64_t points, uint32_t seed, const std::vector<double>& weights);

  IndexSequence(const std::vector<double>& draws, const std::vector<double>& weights, int64_t points);

  int64_t points;                    // P, the start point included
  int64_t chunk;                     // rows: ceil(P / 16)
  std::vector<uint8_t> steps;        // [P - 1], step t leads from point t to point t + 1
  std::vector<uint8_t> interleaved;  // [chunk, 16]; places past the end hold 0
};

}  // namespace seedbed::fractal
