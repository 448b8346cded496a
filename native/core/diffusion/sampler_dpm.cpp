#include <ATen/ATen.h>

#include <cmath>

#include "diffusion/samplers.h"

// Multistep solvers in lambda = log(alpha / sigma), for networks that predict x0.

namespace seedbed::diffusion {

namespace {

constexpr int64_t kShortRun = 15;  // steps; below, the last one is of first order

// The letters of arXiv 2211.01095: x = alpha x0 + sigma eps, lambda = log(alpha / sigma).
struct Point {
  explicit Point(const Level& level) : alpha(std::sqrt(level.alpha_cumprod)), sigma(level.sigma * alpha), lambda(-std::log(level.sigma)) {}

  double alpha, sigma, lambda;
};

bool dpm_first_order(const Run& run, int64_t i) {
  if (i == run.begin()) return true;
  const DpmOptions& o = run.options.dpm;
  return i + 1 == run.end() && (o.euler_at_final || (o.lower_order_final && run.end() < kShortRun) || run.plan.targets[i].sigma == 0);
}

// The weight of D1 in a second-order step that spans h in lambda, over that of D0's step, alpha (e^-h - 1).
double d1_weight(DpmSolverType type, double h) { return type == DpmSolverType::midpoint ? 0.5 : -(std::expm1(-h) / h + 1) / std::expm1(-h); }

// The same of the stochastic solver, over alpha (1 - e^-2h).
double d1_weight_sde(DpmSolverType type, double h) { return type == DpmSolverType::midpoint ? 0.5 : (std::expm1(-2 * h) / (2 * h) + 1) / -std::expm1(-2 * h); }

// D0 + weight D1, the extrapolated x0 of a step from s0 to t with the previous x0 at s1.
at::Tensor extrapolate(const at::Tensor& m0, const at::Tensor& m1, const Point& s1, const Point& s0, const Point& t, double weight) {
  const double r0 = (s0.lambda - s1.lambda) / (t.lambda - s0.lambda);
  return m0 + weight / r0 * (m0 - m1);
}

// UniPC's B(h) (arXiv 2302.04867, section 3.3), with h negative for predicted x0.
double unipc_b(UnipcSolverType type, double hh) { return type == UnipcSolverType::bh1 ? hh : std::expm1(hh); }

// rho of UniC-2 (arXiv 2302.04867, eq. 10): R rho = b with rows (1, 1) and (rk, 1).
std::pair<double, double> unic_rhos(double rk, double hh, double B) {
  const double phi_2 = std::expm1(hh) / hh - 1, phi_3 = phi_2 / hh - 0.5;
  const double b1 = phi_2 / B, b2 = 2 * phi_3 / B;
  const double rho = (b1 - b2) / (1 - rk);
  return {rho, b1 - rho};
}

}  // namespace

// DPM-Solver++(2M) (arXiv 2211.01095), algorithm 2.
at::Tensor sample_dpmpp_2m(const Run& run, at::Tensor x) {
  at::Tensor m1;  // x0 of the step before
  for (int64_t i = run.begin(); i < run.end(); ++i) {
    const Point s0(run.plan.levels[i]), t(run.plan.targets[i]);
    const double h = t.lambda - s0.lambda;
    const at::Tensor m0 = run.denoise(x, run.plan.levels[i]);
    const at::Tensor D = dpm_first_order(run, i) ? m0 : extrapolate(m0, m1, Point(run.plan.levels[i - 1]), s0, t, d1_weight(run.options.dpm.solver_type, h));
    x = t.sigma / s0.sigma * x - t.alpha * std::expm1(-h) * D;
    m1 = m0;
    run.report(i, run.plan.targets[i], x, m0);
  }
  return x;
}

// SDE-DPM-Solver++(2M) (arXiv 2211.01095, eq. 19): the same with noise, which makes the deterministic part decay by e^-h.
at::Tensor sample_dpmpp_2m_sde(const Run& run, at::Tensor x) {
  at::Tensor m1;
  for (int64_t i = run.begin(); i < run.end(); ++i) {
    const Point s0(run.plan.levels[i]), t(run.plan.targets[i]);
    const double h = t.lambda - s0.lambda;
    const at::Tensor m0 = run.denoise(x, run.plan.levels[i]);
    const at::Tensor D = dpm_first_order(run, i) ? m0 : extrapolate(m0, m1, Point(run.plan.levels[i - 1]), s0, t, d1_weight_sde(run.options.dpm.solver_type, h));
    x = t.sigma / s0.sigma * std::exp(-h) * x - t.alpha * std::expm1(-2 * h) * D;
    if (t.sigma > 0) x = x + t.sigma * std::sqrt(-std::expm1(-2 * h)) * run.noise.draw_like(x);
    m1 = m0;
    run.report(i, run.plan.targets[i], x, m0);
  }
  return x;
}

// UniPC-2 (arXiv 2302.04867), algorithms 1 and 2: each x0 first corrects the step that led to it, then predicts the next.
at::Tensor sample_unipc(const Run& run, at::Tensor x) {
  const UnipcOptions& o = run.options.unipc;
  at::Tensor m1, m2, before;  // x0 of the last two steps, and x before the last one
  int64_t order = 0;  // of the last step
  for (int64_t i = run.begin(); i < run.end(); ++i) {
    const at::Tensor m0 = run.denoise(x, run.plan.levels[i]);
    const Point s0(run.plan.levels[i]), t(run.plan.targets[i]);
    if (i > run.begin()) {  // UniC, from s1 to s0
      const Point s1(run.plan.levels[i - 1]);
      const double h = s0.lambda - s1.lambda, B = unipc_b(o.solver_type, -h);
      at::Tensor correction = 0.5 * (m0 - m1);
      if (order == 2) {
        const double rk = (Point(run.plan.levels[i - 2]).lambda - s1.lambda) / h;
        const auto [rho_1, rho_2] = unic_rhos(rk, -h, B);
        correction = rho_1 / rk * (m2 - m1) + rho_2 * (m0 - m1);
      }
      x = s0.sigma / s1.sigma * before - s0.alpha * (std::expm1(-h) * m1 + B * correction);
    }
    const double h = t.lambda - s0.lambda;
    const bool last = i + 1 == run.end();
    order = i == run.begin() || (last && (o.lower_order_final || t.sigma == 0)) ? 1 : 2;
    before = x;
    x = t.sigma / s0.sigma * x - t.alpha * std::expm1(-h) * m0;  // UniP
    if (order == 2) {
      const double rk = (Point(run.plan.levels[i - 1]).lambda - s0.lambda) / h;
      x = x - t.alpha * unipc_b(o.solver_type, -h) * 0.5 / rk * (m1 - m0);
    }
    m2 = m1;
    m1 = m0;
    run.report(i, run.plan.targets[i], x, m0);
  }
  return x;
}

}  // namespace seedbed::diffusion
