#include <ATen/ATen.h>

#include <cmath>

#include "diffusion/samplers.h"

// Samplers that hold x scaled as x0 + sigma eps ("variance exploding"), in which dx / dsigma = (x - x0) / sigma.

namespace seedbed::diffusion {

namespace {

// x0 of a scaled x, [B, C, h, w].
at::Tensor denoise_scaled(const Run& run, const at::Tensor& x, const Level& level) { return run.denoise(x * std::sqrt(level.alpha_cumprod), level); }

at::Tensor slope(const at::Tensor& x, const at::Tensor& x0, const Level& level) { return (x - x0) / level.sigma; }

at::Tensor scale_up(const Run& run, const at::Tensor& x) { return x / std::sqrt(run.plan.levels[run.begin()].alpha_cumprod); }

void report_scaled(const Run& run, int64_t i, const at::Tensor& x, const at::Tensor& x0) {
  const Level& level = run.plan.targets[i];
  run.report(i, level, x * std::sqrt(level.alpha_cumprod), x0);
}

}  // namespace

// Euler's method (arXiv 2206.00364, algorithm 2 without churn).
at::Tensor sample_euler(const Run& run, at::Tensor x) {
  x = scale_up(run, x);
  for (int64_t i = run.begin(); i < run.end(); ++i) {
    const Level &t = run.plan.levels[i], &s = run.plan.targets[i];
    const at::Tensor x0 = denoise_scaled(run, x, t);
    x = x + slope(x, x0, t) * (s.sigma - t.sigma);
    report_scaled(run, i, x, x0);
  }
  return x;
}

// Euler steps to below the next sigma and noise up to it (k-diffusion's ancestral sampling).
at::Tensor sample_euler_ancestral(const Run& run, at::Tensor x) {
  x = scale_up(run, x);
  for (int64_t i = run.begin(); i < run.end(); ++i) {
    const Level &t = run.plan.levels[i], &s = run.plan.targets[i];
    const at::Tensor x0 = denoise_scaled(run, x, t);
    const double sigma_up = s.sigma / t.sigma * std::sqrt(t.sigma * t.sigma - s.sigma * s.sigma);
    const double sigma_down = std::sqrt(s.sigma * s.sigma - sigma_up * sigma_up);
    x = x + slope(x, x0, t) * (sigma_down - t.sigma);
    if (sigma_up > 0) x = x + sigma_up * run.noise.draw_like(x);
    report_scaled(run, i, x, x0);
  }
  return x;
}

// Heun's second-order method (arXiv 2206.00364, algorithm 1).
at::Tensor sample_heun(const Run& run, at::Tensor x) {
  x = scale_up(run, x);
  for (int64_t i = run.begin(); i < run.end(); ++i) {
    const Level &t = run.plan.levels[i], &s = run.plan.targets[i];
    at::Tensor x0 = denoise_scaled(run, x, t);
    const double dt = s.sigma - t.sigma;
    at::Tensor d = slope(x, x0, t);
    if (s.sigma > 0) {
      const at::Tensor ahead = x + d * dt;
      x0 = denoise_scaled(run, ahead, s);
      d = (d + slope(ahead, x0, s)) / 2;
    }
    x = x + d * dt;
    report_scaled(run, i, x, x0);
  }
  return x;
}

// DPM-Solver-2 (arXiv 2206.00927, algorithm 1) in the form of arXiv 2206.00364: the midpoint method, midpoints taken in log sigma.
at::Tensor sample_kdpm2(const Run& run, at::Tensor x) {
  x = scale_up(run, x);
  for (int64_t i = run.begin(); i < run.end(); ++i) {
    const Level &t = run.plan.levels[i], &s = run.plan.targets[i], &m = run.plan.midpoints[i];
    at::Tensor x0 = denoise_scaled(run, x, t);
    at::Tensor d = slope(x, x0, t);
    if (s.sigma > 0) {
      const at::Tensor middle = x + d * (m.sigma - t.sigma);
      x0 = denoise_scaled(run, middle, m);
      d = slope(middle, x0, m);
    }
    x = x + d * (s.sigma - t.sigma);
    report_scaled(run, i, x, x0);
  }
  return x;
}

}  // namespace seedbed::diffusion
