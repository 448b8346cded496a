#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <deque>

#include "diffusion/samplers.h"

// Linear multistep methods: the slope of a step is a combination of those of the steps before.

namespace seedbed::diffusion {

namespace {

constexpr int64_t kPrkCalls = 12;  // three Runge-Kutta steps of four calls

// Keeps the newest `count`, the newest first.
void remember(std::deque<at::Tensor>& past, const at::Tensor& value, size_t count) {
  past.push_front(value);
  if (past.size() > count) past.pop_back();
}

// Adams-Bashforth of as many orders as there are outputs (PNDM, eq. 12, and its starting steps).
at::Tensor adams_bashforth(const std::deque<at::Tensor>& e) {
  switch (e.size()) {
    case 1: return e[0];
    case 2: return (3 * e[0] - e[1]) / 2;
    case 3: return (23 * e[0] - 16 * e[1] + 5 * e[2]) / 12;
    default: return (55 * e[0] - 59 * e[1] + 37 * e[2] - 9 * e[3]) / 24;
  }
}

// The transfer of x from level t to s along an output (PNDM, eq. 11). Velocities are turned into noise here, after
// they were combined, as in diffusers.
at::Tensor transfer(const at::Tensor& x, const Level& t, const Level& s, const at::Tensor& output, Prediction prediction) {
  const double a = t.alpha_cumprod, b = s.alpha_cumprod;
  const at::Tensor eps = prediction == Prediction::v_prediction ? std::sqrt(a) * output + std::sqrt(1 - a) * x : output;
  return std::sqrt(b / a) * x - (b - a) / (a * std::sqrt(1 - b) + std::sqrt(a * (1 - a) * b)) * eps;
}

// Integrates Lagrange's polynomial of derivative k over the step from sigma_i; Simpson's rule is exact up to order 4.
double lms_coefficient(const SamplePlan& plan, int64_t i, int64_t order, int64_t k) {
  const auto basis = [&](double tau) {
    double product = 1;
    for (int64_t j = 0; j < order; ++j)
      if (j != k) product *= (tau - plan.levels[i - j].sigma) / (plan.levels[i - k].sigma - plan.levels[i - j].sigma);
    return product;
  };
  const double from = plan.levels[i].sigma, to = plan.targets[i].sigma;
  return (to - from) / 6 * (basis(from) + 4 * basis((from + to) / 2) + basis(to));
}

}  // namespace

// Pseudo numerical methods (arXiv 2202.09778): F-PNDM with Runge-Kutta steps (algorithm 2), or PLMS, which begins with
// a step that is repeated with the mean of two outputs.
at::Tensor sample_pndm(const Run& run, at::Tensor x) {
  // Predicted x0 goes through the noise it implies.
  const Prediction kind = run.schedule.options.prediction == Prediction::v_prediction ? Prediction::v_prediction : Prediction::epsilon;
  const int64_t distance = step_distance(run.options, run.schedule), prk = run.options.pndm.skip_prk_steps ? 0 : kPrkCalls;
  const auto level = [&](int64_t timestep) { return level_or_final(run.schedule, timestep); };
  std::deque<at::Tensor> outputs;
  at::Tensor origin, sum;  // x before a step of several calls; the weighted outputs of its calls
  Level origin_level;
  // faithful: calls are counted from the first one that is made, wherever it lies in the plan.
  for (int64_t i = run.begin(), call = 0; i < run.end(); ++i, ++call) {
    const Level& here = run.plan.levels[i];
    const auto t = static_cast<int64_t>(here.timestep);
    const at::Tensor x0 = run.denoise(x, here), output = to_output(x0, x, here, kind);  // [B, C, h, w]
    Level s = level(t - distance);
    if (call < prk) {
      const int64_t part = call % 4;
      if (part == 0) {
        remember(outputs, output, 4);
        origin = x;
        origin_level = here;
      }
      s = level(part % 2 == 0 ? t - distance / 2 : t);
      const double weight = part == 0 || part == 3 ? 1.0 / 6 : 1.0 / 3;
      sum = part == 0 ? weight * output : sum + weight * output;
      x = transfer(origin, origin_level, s, part == 3 ? sum : output, kind);
    } else if (call == 1) {
      s = here;
      x = transfer(origin, level(t + distance), s, (output + outputs[0]) / 2, kind);
    } else {
      remember(outputs, output, 4);
      if (call == 0) origin = x;
      x = transfer(x, here, s, adams_bashforth(outputs), kind);
    }
    run.report(i, s, x, x0);
  }
  return x;
}

// Linear multistep on dx / dsigma (k-diffusion's LMS).
at::Tensor sample_lms(const Run& run, at::Tensor x) {
  x = x / std::sqrt(run.plan.levels[run.begin()].alpha_cumprod);  // held as x0 + sigma eps
  std::deque<at::Tensor> derivatives;
  for (int64_t i = run.begin(); i < run.end(); ++i) {
    const Level &t = run.plan.levels[i], &s = run.plan.targets[i];
    const at::Tensor x0 = run.denoise(x * std::sqrt(t.alpha_cumprod), t);
    remember(derivatives, (x - x0) / t.sigma, static_cast<size_t>(run.options.lms.order));
    // fixed: diffusers takes the order from the place in the whole plan, also where a run begins in its middle and has
    // no past; the weights then do not add up to the step.
    const auto order = static_cast<int64_t>(derivatives.size());
    for (int64_t k = 0; k < order; ++k) x = x + lms_coefficient(run.plan, i, order, k) * derivatives[k];
    run.report(i, s, x * std::sqrt(s.alpha_cumprod), x0);
  }
  return x;
}

}  // namespace seedbed::diffusion
