#include "nn/init.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <numbers>

namespace seedbed::nn {

namespace {

double normal_cdf(double x) { return (1 + std::erf(x / std::numbers::sqrt2)) / 2; }

}  // namespace

void trunc_normal_(at::Tensor x, double std, at::Generator& generator) {
  const c10::NoGradGuard no_grad;
  const double low = normal_cdf(-2 / std), high = normal_cdf(2 / std);
  x.uniform_(2 * low - 1, 2 * high - 1, generator).erfinv_().mul_(std * std::numbers::sqrt2).clamp_(-2, 2);
}

void fan_in_uniform_(at::Tensor x, int64_t fan_in, at::Generator& generator) {
  const c10::NoGradGuard no_grad;
  const double bound = 1 / std::sqrt(static_cast<double>(fan_in));
  x.uniform_(-bound, bound, generator);
}

}  // namespace seedbed::nn
