#include "fractal/ifs.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "tensor/check.h"
#include "tensor/error.h"

namespace seedbed::fractal {

namespace {

struct Matrix2 {
  double a, b, c, d;
};

Matrix2 operator*(const Matrix2& l, const Matrix2& r) {
  return {l.a * r.a + l.b * r.c, l.a * r.b + l.b * r.d, l.c * r.a + l.d * r.c, l.c * r.b + l.d * r.d};
}

// A random rotation times diag(+-1, +-1).
Matrix2 random_orthogonal(Rng& rng) {
  const double angle = rng.uniform(-std::numbers::pi, std::numbers::pi);
  const double cosine = std::cos(angle), sine = std::sin(angle);
  const double sign_x = rng.chance(0.5) ? 1 : -1, sign_y = rng.chance(0.5) ? 1 : -1;
  return {cosine * sign_x, -sine * sign_y, sine * sign_x, cosine * sign_y};
}

// Pairs 0 <= s2 <= s1 <= 1 with sum s1 + 2 s2 = sigma. `upper` is what is still to be spent, `lower` what must be
// spent now so that the maps left (3 each at most) can take the rest.
std::vector<std::array<double, 2>> sample_singular_values(int maps, double sigma, Rng& rng) {
  std::vector<std::array<double, 2>> values;
  double upper = sigma, lower = sigma - 3.0 * maps + 3.0;
  for (int j = 0; j + 1 < maps; ++j) {
    const double s1 = rng.uniform(std::max(0.0, lower / 3), std::min(1.0, upper));
    lower -= s1;
    upper -= s1;
    const double s2 = rng.uniform(std::max(0.0, lower / 2), std::min(s1, upper / 2));
    lower += 3.0 - 2 * s2;
    upper -= 2 * s2;
    values.push_back({s1, s2});
  }
  const double s2 = rng.uniform(std::max(0.0, (upper - 1) / 2), upper / 3);
  values.push_back({upper - 2 * s2, s2});
  return values;
}

double determinant(const AffineMap& m) { return m[0] * m[4] - m[1] * m[3]; }

std::array<double, 2> singular_values(const AffineMap& m) {
  // Of [a b; c d]: half the sum and half the difference of two lengths (Blinn 1996).
  const double e = (m[0] + m[4]) / 2, f = (m[0] - m[4]) / 2, g = (m[3] + m[1]) / 2, h = (m[3] - m[1]) / 2;
  const double q = std::hypot(e, h), r = std::hypot(f, g);
  return {q + r, std::abs(q - r)};
}

}  // namespace

std::vector<double> weights_by_determinant(const std::vector<AffineMap>& affine) {
  std::vector<double> weights;
  for (const AffineMap& map : affine) weights.push_back(std::abs(determinant(map)));
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (double& weight : weights) weight = total > 0 ? weight / total : 1.0 / static_cast<double>(weights.size());
  return weights;
}

void check_ifs(const Ifs& ifs) {
  check_range(static_cast<int64_t>(ifs.affine.size()), "number of affine maps", 1, kMaxMaps);
  expect(ifs.weights.size() == ifs.affine.size(), "Expected {} weights, one per map, received {}", ifs.affine.size(), ifs.weights.size());
  double total = 0;
  for (size_t j = 0; j < ifs.affine.size(); ++j) {
    for (double value : ifs.affine[j])
      if (!std::isfinite(value)) fail(ErrorCode::not_finite, "Expected finite numbers in affine map {}, received {}", j, value);
    check_range(ifs.weights[j], "weights", 0.0, 1.0);
    total += ifs.weights[j];
  }
  expect(std::abs(total - 1) < 1e-6, "Expected weights that sum to 1, received a sum of {}", total);
}

Ifs sample_ifs(const SampleOptions& options, Rng& rng) {
  check_range(int64_t{options.maps}, "maps", 2, 8);
  check_range(options.half_width, "halfWidth", 0.0, 1.0);
  const double low = options.sigma_factor - options.half_width, high = options.sigma_factor + options.half_width;
  expect(low > 0 && high < 3.0 * options.maps, "Expected sigmaFactor -+ halfWidth inside (0, {}), received {} -+ {}", 3 * options.maps, options.sigma_factor,
         options.half_width);
  Ifs ifs;
  for (const auto& [s1, s2] : sample_singular_values(options.maps, rng.uniform(low, high), rng)) {
    const Matrix2 m = random_orthogonal(rng) * Matrix2{s1, 0, 0, s2} * random_orthogonal(rng);
    const double e = rng.uniform(-1, 1), f = rng.uniform(-1, 1);
    ifs.affine.push_back({m.a, m.b, e, m.c, m.d, f});
  }
  ifs.weights = weights_by_determinant(ifs.affine);
  return ifs;
}

std::vector<std::array<double, 2>> singular_values(const Ifs& ifs) {
  std::vector<std::array<double, 2>> values;
  for (const AffineMap& map : ifs.affine) values.push_back(singular_values(map));
  return values;
}

double sigma_factor(const Ifs& ifs) {
  double sum = 0;
  for (const auto& [s1, s2] : singular_values(ifs)) sum += s1 + 2 * s2;
  return sum;
}

Ifs perturb_ifs(const Ifs& ifs, const PerturbOptions& options, Rng& rng) {
  check_range(options.delta, "delta", 0.0, 2.0);
  Ifs copy = ifs;
  for (AffineMap& map : copy.affine)
    for (double& value : map) {
      switch (options.kind) {
        case Perturbation::multiplicative: value *= rng.uniform(1 - options.delta, 1 + options.delta); break;
        case Perturbation::additive: value += rng.uniform(-options.delta / 2, options.delta / 2); break;
      }
    }
  if (options.probabilities == Probabilities::perturbed) copy.weights = weights_by_determinant(copy.affine);
  return copy;
}

}  // namespace seedbed::fractal
