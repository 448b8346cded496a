#include "diffusion/sampler.h"

#include <ATen/ATen.h>

#include "diffusion/samplers.h"
#include "tensor/check.h"
#include "tensor/error.h"

namespace seedbed::diffusion {

namespace {

struct Sampler {
  SamplerKind kind;
  at::Tensor (*function)(const Run&, at::Tensor);
  bool clips, thresholds;  // whether diffusers limits x0 in it, if the schedule asks for that
};

constexpr Sampler kSamplers[] = {
    {SamplerKind::ddim, sample_ddim, true, true},
    {SamplerKind::ddpm, sample_ddpm, true, true},
    {SamplerKind::pndm, sample_pndm, false, false},
    {SamplerKind::euler, sample_euler, false, false},
    {SamplerKind::euler_ancestral, sample_euler_ancestral, false, false},
    {SamplerKind::heun, sample_heun, true, false},
    {SamplerKind::dpmpp_2m, sample_dpmpp_2m, false, true},
    {SamplerKind::dpmpp_2m_sde, sample_dpmpp_2m_sde, false, true},
    {SamplerKind::unipc, sample_unipc, false, true},
    {SamplerKind::lms, sample_lms, false, false},
    {SamplerKind::lcm, sample_lcm, true, true},
    {SamplerKind::kdpm2, sample_kdpm2, false, false},
};

const Sampler& sampler_of(SamplerKind kind) { return kSamplers[static_cast<size_t>(kind)]; }

Denoise limited(const Denoise& denoise, const NoiseScheduleOptions& limits) {
  return [&denoise, &limits](const at::Tensor& x, const Level& level) { return limit_denoised(denoise(x, level), limits); };
}

}  // namespace

void Run::report(int64_t i, const Level& level, const at::Tensor& x, const at::Tensor& denoised) const {
  if (on_step) on_step(i + 1 - begin(), end() - begin(), level, x, denoised);
}

at::Tensor sample(const SamplerOptions& options, const NoiseSchedule& schedule, at::Tensor x, const Denoise& denoise, NoiseSource& noise, const OnStep& on_step) {
  check_shape(x, "latents", {-1, -1, -1, -1});
  check_dtype(x, "latents", at::kFloat);
  const SamplePlan steps = plan(options, schedule);
  const auto n = static_cast<int64_t>(steps.levels.size());
  check_range(options.start, "start", int64_t{0}, n);
  if (options.start == n) return x;

  const Sampler& sampler = sampler_of(options.kind);
  NoiseSchedule limits = schedule;
  limits.options.clip_sample &= sampler.clips;
  limits.options.thresholding &= sampler.thresholds;
  // ddim limits x0 itself, since it needs it as it came too.
  const Denoise used = options.kind == SamplerKind::ddim ? denoise : limited(denoise, limits.options);
  return sampler.function({options, limits, steps, used, noise, on_step}, x);
}

}  // namespace seedbed::diffusion
