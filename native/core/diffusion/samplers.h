#pragma once

#include "diffusion/sampler.h"

// One function per sampler, for sampler.cpp's table.

namespace seedbed::diffusion {

// What a sampler works with.
struct Run {
  const SamplerOptions& options;
  const NoiseSchedule& schedule;
  const SamplePlan& plan;
  const Denoise& denoise;
  NoiseSource& noise;
  const OnStep& on_step;

  int64_t begin() const { return options.start; }
  int64_t end() const { return static_cast<int64_t>(plan.levels.size()); }

  // Tells that step i is done. x: [B, C, h, w], variance preserving.
  void report(int64_t i, const Level& level, const at::Tensor& x, const at::Tensor& denoised) const;
};

// All take x, [B, C, h, w] float32 at plan.levels[begin], variance preserving, and return it at the plan's end.
at::Tensor sample_ddim(const Run& run, at::Tensor x);
at::Tensor sample_ddpm(const Run& run, at::Tensor x);
at::Tensor sample_lcm(const Run& run, at::Tensor x);
at::Tensor sample_euler(const Run& run, at::Tensor x);
at::Tensor sample_euler_ancestral(const Run& run, at::Tensor x);
at::Tensor sample_heun(const Run& run, at::Tensor x);
at::Tensor sample_kdpm2(const Run& run, at::Tensor x);
at::Tensor sample_dpmpp_2m(const Run& run, at::Tensor x);
at::Tensor sample_dpmpp_2m_sde(const Run& run, at::Tensor x);
at::Tensor sample_unipc(const Run& run, at::Tensor x);
at::Tensor sample_pndm(const Run& run, at::Tensor x);
at::Tensor sample_lms(const Run& run, at::Tensor x);

// The distribution of x at level s, given x0 and eps at level t > s: DDIM (arXiv 2010.02502), eq. 12 and 16.
struct DdimTransition {
  at::Tensor mean;  // [B, C, h, w]
  double std;
};
DdimTransition ddim_transition(const at::Tensor& x0, const at::Tensor& eps, const Level& t, const Level& s, double eta);

// The level of `timestep`; past the last one (negative) that of no noise, or of timestep 0 without `set_alpha_to_one`.
Level level_or_final(const NoiseSchedule& schedule, int64_t timestep);

// The whole number of trained timesteps between two steps.
int64_t step_distance(const SamplerOptions& options, const NoiseSchedule& schedule);

}  // namespace seedbed::diffusion
