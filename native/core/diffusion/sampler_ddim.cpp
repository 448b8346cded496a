#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "diffusion/samplers.h"

// Samplers that step from one trained timestep to another.

namespace seedbed::diffusion {

namespace {

constexpr double kLeastVariance = 1e-20;
constexpr double kSigmaData = 0.5;  // arXiv 2310.04378, appendix

}  // namespace

DdimTransition ddim_transition(const at::Tensor& x0, const at::Tensor& eps, const Level& t, const Level& s, double eta) {
  const double variance = (1 - s.alpha_cumprod) / (1 - t.alpha_cumprod) * (1 - t.alpha_cumprod / s.alpha_cumprod);
  const double std = eta * std::sqrt(variance);
  return {std::sqrt(s.alpha_cumprod) * x0 + std::sqrt(1 - s.alpha_cumprod - std * std) * eps, std};
}

// DDIM (arXiv 2010.02502), eq. 12.
at::Tensor sample_ddim(const Run& run, at::Tensor x) {
  const double eta = run.options.ddim.eta;
  for (int64_t i = run.begin(); i < run.end(); ++i) {
    const Level &t = run.plan.levels[i], &s = run.plan.targets[i];
    at::Tensor x0 = run.denoise(x, t);
    const at::Tensor eps = to_epsilon(x0, x, t);  // faithful: of x0 before it is limited
    x0 = limit_denoised(x0, run.schedule.options);
    const auto [mean, std] = ddim_transition(x0, eps, t, s, eta);
    x = std > 0 ? mean + std * run.noise.draw_like(x) : mean;
    run.report(i, s, x, x0);
  }
  return x;
}

// DDPM (arXiv 2006.11239), algorithm 2 with eq. 7, on a subset of the timesteps.
at::Tensor sample_ddpm(const Run& run, at::Tensor x) {
  for (int64_t i = run.begin(); i < run.end(); ++i) {
    const Level &t = run.plan.levels[i], &s = run.plan.targets[i];
    const at::Tensor x0 = run.denoise(x, t);
    const double beta = 1 - t.alpha_cumprod / s.alpha_cumprod;
    const double ratio = (1 - s.alpha_cumprod) / (1 - t.alpha_cumprod);
    x = std::sqrt(s.alpha_cumprod) * beta / (1 - t.alpha_cumprod) * x0 + std::sqrt(1 - beta) * ratio * x;
    const double variance = run.options.ddpm.variance == DdpmVariance::fixed_small ? std::max(ratio * beta, kLeastVariance) : beta;
    if (t.timestep > 0) x = x + std::sqrt(variance) * run.noise.draw_like(x);
    run.report(i, s, x, x0);
  }
  return x;
}

// Latent consistency models (arXiv 2310.04378), algorithm 3.
at::Tensor sample_lcm(const Run& run, at::Tensor x) {
  for (int64_t i = run.begin(); i < run.end(); ++i) {
    const Level &t = run.plan.levels[i], &s = run.plan.targets[i];
    const double scaled = t.timestep * run.options.lcm.timestep_scaling, norm = scaled * scaled + kSigmaData * kSigmaData;
    const double c_skip = kSigmaData * kSigmaData / norm, c_out = scaled / std::sqrt(norm);
    const at::Tensor denoised = c_out * run.denoise(x, t) + c_skip * x;
    x = i + 1 < run.end() ? add_noise(denoised, run.noise.draw_like(x), s) : denoised;
    run.report(i, s, x, denoised);
  }
  return x;
}

}  // namespace seedbed::diffusion
