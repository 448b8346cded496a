#include "diffusion/inversion.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "diffusion/samplers.h"
#include "tensor/check.h"
#include "tensor/error.h"

namespace seedbed::diffusion {

namespace {

constexpr double kEta = 1;  // the noise between two levels is that of ddpm

// The noise that a network's output stands for; unlike through x0, also where x has none.
at::Tensor epsilon_of(const at::Tensor& output, const at::Tensor& x, const Level& level, Prediction prediction) {
  if (prediction == Prediction::epsilon) return output;
  if (prediction == Prediction::v_prediction) return std::sqrt(level.alpha_cumprod) * output + std::sqrt(1 - level.alpha_cumprod) * x;
  return to_epsilon(output, x, level);
}

}  // namespace

SamplePlan ddim_plan(const NoiseSchedule& schedule, int64_t steps) { return plan({.kind = SamplerKind::ddim, .steps = steps}, schedule); }

Trajectory invert_ddim(const Predict& predict, const NoiseSchedule& schedule, int64_t steps, at::Tensor x, const OnInvert& on_step) {
  const SamplePlan down = ddim_plan(schedule, steps);
  const auto n = static_cast<int64_t>(down.levels.size());
  const Prediction prediction = schedule.options.prediction;
  Trajectory out;
  for (int64_t i = n - 1; i >= 0; --i) {
    const Level& to = down.levels[static_cast<size_t>(i)];
    Level from = down.targets[static_cast<size_t>(i)];
    from.timestep = to.timestep;  // the network is asked about x as if it were at the next level already
    const at::Tensor output = predict(x, from), eps = epsilon_of(output, x, from, prediction);
    x = add_noise(to_denoised(output, x, from, prediction), eps, to);
    out.levels.push_back(to);
    out.latents.push_back(x);
    if (on_step) on_step(n - i, n);
  }
  return out;
}

EditFriendly invert_edit_friendly(const Model& model, const Guidance& guidance, const NoiseSchedule& schedule, int64_t steps, const at::Tensor& x0, NoiseSource& noise,
                                  int64_t batch, const OnInvert& on_step, const nn::Poll& poll) {
  check_range(batch, "batchSize", 1, 1024);
  EditFriendly out;
  out.plan = ddim_plan(schedule, steps);
  const size_t n = out.plan.levels.size();
  const int64_t B = x0.size(0);
  out.latents.resize(n);
  out.noises.resize(n);
  for (size_t i = n; i-- > 0;) out.latents[i] = add_noise(x0, noise.draw_like(x0), out.plan.levels[i]);  // eq. 6

  const auto per_call = static_cast<size_t>(batch);
  for (size_t begin = 0; begin < n; begin += per_call) {
    const size_t end = std::min(n, begin + per_call), count = end - begin;
    const std::vector<at::Tensor> xs(out.latents.begin() + static_cast<int64_t>(begin), out.latents.begin() + static_cast<int64_t>(end));
    std::vector<double> timesteps;
    for (size_t i = begin; i < end; ++i) timesteps.insert(timesteps.end(), static_cast<size_t>(B), out.plan.levels[i].timestep);
    const auto outputs = guided_rows(model, guidance, at::cat(xs), at::tensor(timesteps, at::kFloat), poll).chunk(static_cast<int64_t>(count));
    for (size_t i = begin; i < end; ++i) {
      const Level &t = out.plan.levels[i], &s = out.plan.targets[i];
      const at::Tensor denoised = to_denoised(outputs[i - begin], out.latents[i], t, schedule.options.prediction);
      const auto [mean, std] = ddim_transition(denoised, to_epsilon(denoised, out.latents[i], t), t, s, kEta);
      const at::Tensor& below = i + 1 < n ? out.latents[i + 1] : x0;
      out.noises[i] = std > 0 ? (below - mean) / std : at::zeros_like(mean);  // eq. 5
    }
    if (on_step) on_step(static_cast<int64_t>(end), static_cast<int64_t>(n));
  }
  return out;
}

at::Tensor replay(const SamplePlan& plan, const std::vector<at::Tensor>& noises, int64_t start, at::Tensor x, const Denoise& denoise, const OnInvert& on_step) {
  const auto n = static_cast<int64_t>(plan.levels.size());
  expect(noises.size() == plan.levels.size(), "Expected the noises of {} steps, received {}", n, noises.size());
  check_range(start, "start", 0, n - 1);
  for (int64_t i = start; i < n; ++i) {
    const auto step = static_cast<size_t>(i);
    const Level& t = plan.levels[step];
    expect(noises[step].sizes() == x.sizes(), "Expected noises of the latents' shape");
    const at::Tensor denoised = denoise(x, t);
    const auto [mean, std] = ddim_transition(denoised, to_epsilon(denoised, x, t), t, plan.targets[step], kEta);
    x = mean + std * noises[step];
    if (on_step) on_step(i + 1 - start, n - start);
  }
  return x;
}

}  // namespace seedbed::diffusion
