#include "diffusion/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "tensor/check.h"
#include "tensor/error.h"

namespace seedbed::diffusion {

namespace {

constexpr int64_t kMaxTrainTimesteps = 100'000;
constexpr double kMaxCosineBeta = 0.999;

// `count` values from `first` to `last`, both included.
std::vector<double> linspace(double first, double last, int64_t count) {
  std::vector<double> values(count, first);
  for (int64_t i = 1; i < count; ++i) values[i] = first + (last - first) * static_cast<double>(i) / static_cast<double>(count - 1);
  return values;
}

// arXiv 2102.09672, eq. 17.
std::vector<double> cosine_betas(int64_t T) {
  const auto alpha_bar = [](double t) { return std::pow(std::cos((t + 0.008) / 1.008 * std::numbers::pi / 2), 2); };
  std::vector<double> betas(T);
  for (int64_t t = 0; t < T; ++t)
    betas[t] = std::min(1 - alpha_bar(static_cast<double>(t + 1) / static_cast<double>(T)) / alpha_bar(static_cast<double>(t) / static_cast<double>(T)), kMaxCosineBeta);
  return betas;
}

std::vector<double> betas_of(const NoiseScheduleOptions& o) {
  if (!o.trained_betas.empty()) return o.trained_betas;
  switch (o.beta_schedule) {
    case BetaSchedule::linear: return linspace(o.beta_start, o.beta_end, o.train_timesteps);
    case BetaSchedule::squaredcos_cap_v2: return cosine_betas(o.train_timesteps);
    case BetaSchedule::scaled_linear: {
      std::vector<double> betas = linspace(std::sqrt(o.beta_start), std::sqrt(o.beta_end), o.train_timesteps);
      for (double& beta : betas) beta *= beta;
      return betas;
    }
  }
  fail(ErrorCode::internal, "Unknown beta schedule");
}

// arXiv 2305.08891, algorithm 1: shifts and scales sqrt(alpha_cumprod) so that its last value is 0 and its first stays.
void rescale_to_zero_snr(std::vector<double>& alphas_cumprod) {
  const double first = std::sqrt(alphas_cumprod.front()), last = std::sqrt(alphas_cumprod.back());
  for (double& a : alphas_cumprod) a = std::pow((std::sqrt(a) - last) * first / (first - last), 2);
  alphas_cumprod.back() = 0;
}

}  // namespace

NoiseSchedule make_noise_schedule(const NoiseScheduleOptions& options) {
  check_range(options.train_timesteps, "trainTimesteps", 1, kMaxTrainTimesteps);
  const std::vector<double> betas = betas_of(options);
  expect(static_cast<int64_t>(betas.size()) == options.train_timesteps, "Expected {} numbers for trainedBetas, received {}", options.train_timesteps, betas.size());
  NoiseSchedule schedule{options, {}};
  double product = 1;
  for (double beta : betas) {
    expect(beta > 0 && beta < 1, "Expected betas inside (0, 1), received {}", beta);
    schedule.alphas_cumprod.push_back(product *= 1 - beta);
  }
  if (options.rescale_betas_zero_snr) {
    expect(options.train_timesteps > 1, "Expected at least 2 train timesteps to rescale to zero SNR");
    rescale_to_zero_snr(schedule.alphas_cumprod);
  }
  return schedule;
}

Level level_at(const NoiseSchedule& schedule, int64_t timestep) {
  check_range(timestep, "a timestep", 0, schedule.options.train_timesteps - 1);
  const double a = schedule.alphas_cumprod[timestep];
  return {static_cast<double>(timestep), std::sqrt((1 - a) / a), a};
}

Level level_of_sigma(double sigma, double timestep) { return {timestep, sigma, 1 / (1 + sigma * sigma)}; }

}  // namespace seedbed::diffusion
