#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "diffusion/denoiser.h"
#include "diffusion/schedule.h"

namespace seedbed::diffusion {

enum class SamplerKind { ddim, ddpm, pndm, euler, euler_ancestral, heun, dpmpp_2m, dpmpp_2m_sde, unipc, lms, lcm, kdpm2 };

// How sigmas lie between the largest and the smallest: those of the timesteps, arXiv 2206.00364 eq. 5, or evenly in log.
enum class SigmaSchedule { normal, karras, exponential };

// The variance of a ddpm step: of the posterior, or beta (arXiv 2006.11239, section 3.2).
enum class DdpmVariance { fixed_small, fixed_large };

enum class DpmSolverType { midpoint, heun };

enum class UnipcSolverType { bh1, bh2 };

struct DdimOptions {
  double eta = 0;  // share of ddpm's noise that is added in each step; 0: none
};

struct DdpmOptions {
  DdpmVariance variance = DdpmVariance::fixed_small;
};

struct PndmOptions {
  bool skip_prk_steps = true;  // begin with one repeated step instead of three of Runge and Kutta's
};

struct LcmOptions {
  int64_t original_steps = 50;  // steps of the schedule the model was distilled on
  double timestep_scaling = 10;
};

struct DpmOptions {
  DpmSolverType solver_type = DpmSolverType::midpoint;
  bool lower_order_final = true;  // first order at the end of runs shorter than 15 steps
  bool euler_at_final = false;  // first order in the last step of any run
};

struct UnipcOptions {
  UnipcSolverType solver_type = UnipcSolverType::bh2;
  bool lower_order_final = true;
};

struct LmsOptions {
  int64_t order = 4;  // past derivatives used, 1 to 4
};

struct SamplerOptions {
  SamplerKind kind = SamplerKind::ddim;
  int64_t steps = 50;  // 1 to 10,000; taken from the lists below when one is given
  int64_t start = 0;  // index of the first step that is taken: image to image begins in the middle of the plan
  SigmaSchedule sigmas = SigmaSchedule::normal;
  std::optional<double> sigma_min, sigma_max;  // ends of karras and exponential; missing: the schedule's
  std::vector<double> custom_sigmas;  // [steps + 1], falling, the last one usually 0
  std::vector<double> custom_timesteps;  // [steps], falling
  // The part of `kind` is read.
  DdimOptions ddim;
  DdpmOptions ddpm;
  PndmOptions pndm;
  LcmOptions lcm;
  DpmOptions dpm;
  UnipcOptions unipc;
  LmsOptions lms;
};

// The way down of a sampler, from noise to image.
struct SamplePlan {
  std::vector<Level> levels;  // [n]: step i begins at levels[i]
  std::vector<Level> targets;  // [n]: and lands at targets[i]; levels[i + 1], but for ddim and pndm, which step by fixed distances
  std::vector<Level> midpoints;  // [n], kdpm2 only: where step i asks the network a second time
  double init_scale = 1;  // x at levels[0] is init_scale * standard normal noise
};

// n is `steps`, but for pndm, which repeats a step or takes Runge-Kutta steps first. Throws ERR_INVALID_ARGUMENT for
// steps outside 1 to 10,000 and for what the sampler cannot do.
SamplePlan plan(const SamplerOptions& options, const NoiseSchedule& schedule);

// The steps that `options` ask for: the lists', else `steps`.
int64_t step_count(const SamplerOptions& options);

// `start` for a strength in [0, 1]: diffusers' get_timesteps. 1 begins at pure noise, 0 does nothing.
int64_t start_of_strength(double strength, int64_t steps);

// After each step: `step` of `steps` are done (counted from `start`), x stands at `level`; `denoised` is the last x0.
// x, denoised: [B, C, h, w]; x variance preserving. May throw to stop.
using OnStep = std::function<void(int64_t step, int64_t steps, const Level& level, const at::Tensor& x, const at::Tensor& denoised)>;

// Goes from x, [B, C, h, w] float32 at levels[start] (variance preserving), to the end of the plan. Draws noise only if
// the sampler needs it. Returns [B, C, h, w]; x itself is not changed. Gradients pass through if they are on.
at::Tensor sample(const SamplerOptions& options, const NoiseSchedule& schedule, at::Tensor x, const Denoise& denoise, NoiseSource& noise, const OnStep& on_step = {});

}  // namespace seedbed::diffusion
