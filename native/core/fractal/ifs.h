#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "tensor/rng.h"

namespace seedbed::fractal {

// One affine map w(x, y) = (a x + b y + e, c x + d y + f), stored row by row: a b e, c d f.
using AffineMap = std::array<double, 6>;

// An iterated function system: N maps and the chance of each.
struct Ifs {
  std::vector<AffineMap> affine;  // [N, 2, 3]
  std::vector<double> weights;    // [N], sums to 1
};

inline constexpr int kMaxMaps = 16;

// Chances in proportion to |det A_j|; equal chances when all determinants are zero.
std::vector<double> weights_by_determinant(const std::vector<AffineMap>& affine);

// Throws ERR_INVALID_ARGUMENT or ERR_NOT_FINITE unless `ifs` has 1 to 16 finite maps and as many weights that sum to 1.
void check_ifs(const Ifs& ifs);

struct SampleOptions {
  int maps = 2;                // N, 2 to 8
  double sigma_factor = 3.5;   // sum over maps of s1 + 2 s2 (singular values); smaller is sparser
  double half_width = 0.1;     // the target is drawn uniformly from sigma_factor -+ half_width
};

// Draws a system with contractive maps whose singular values add up to the sigma-factor (Anderson & Farrell,
// "Improving Fractal Pre-training", WACV 2022, algorithm 1). Rotations and signs are uniform, translations U(-1, 1).
Ifs sample_ifs(const SampleOptions& options, Rng& rng);

// Singular values s1 >= s2 of each map's linear part.
std::vector<std::array<double, 2>> singular_values(const Ifs& ifs);

// sum_j s_j1 + 2 s_j2.
double sigma_factor(const Ifs& ifs);

enum class Perturbation { multiplicative, additive };
enum class Probabilities { base, perturbed };

struct PerturbOptions {
  Perturbation kind = Perturbation::multiplicative;  // the released code multiplies, the paper adds
  double delta = 0.1;                                // multiplicative: factors U(1 - delta, 1 + delta); additive: U(-delta/2, delta/2)
  Probabilities probabilities = Probabilities::base; // `base` keeps one index sequence for all copies
};

// A copy of `ifs` with each of its 6N numbers perturbed (1p-frac, LIEP).
Ifs perturb_ifs(const Ifs& ifs, const PerturbOptions& options, Rng& rng);

}  // namespace seedbed::fractal
