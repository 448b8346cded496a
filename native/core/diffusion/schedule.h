#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

namespace seedbed::diffusion {

enum class BetaSchedule { linear, scaled_linear, squaredcos_cap_v2 };

// What the network's output means: the noise, the velocity (arXiv 2202.00512), or x0.
enum class Prediction { epsilon, v_prediction, sample };

// How the visited timesteps lie among the trained ones (arXiv 2305.08891, table 2).
enum class TimestepSpacing { leading, linspace, trailing };

// Where the last step lands: at no noise, or at the least noise of training.
enum class FinalSigma { zero, sigma_min };

// The noise process a network was trained with, and what its users agreed on: the fields of diffusers'
// scheduler_config.json that samplers share. Defaults: Stable Diffusion 1.x.
struct NoiseScheduleOptions {
  int64_t train_timesteps = 1000;  // T
  double beta_start = 0.00085;
  double beta_end = 0.012;
  BetaSchedule beta_schedule = BetaSchedule::scaled_linear;
  std::vector<double> trained_betas;  // [T]; when given, it replaces the three above
  bool rescale_betas_zero_snr = false;  // no signal at all at the last timestep (arXiv 2305.08891, algorithm 1)
  Prediction prediction = Prediction::epsilon;
  std::optional<TimestepSpacing> spacing;  // missing: what diffusers uses with the sampler
  int64_t steps_offset = 0;  // added to the timesteps of `leading`
  bool set_alpha_to_one = true;  // the level after the last timestep (ddim, pndm, lcm): no noise, or that of timestep 0
  FinalSigma final_sigma = FinalSigma::zero;  // the same for the samplers that work on sigmas
  bool clip_sample = false;  // clamp x0 to [-clip_sample_range, clip_sample_range] (ddim, ddpm, lcm, heun)
  double clip_sample_range = 1;
  bool thresholding = false;  // dynamic thresholding of x0 (arXiv 2205.11487, section 2.3) (ddim, ddpm, lcm, dpmpp_2m, dpmpp_2m_sde, unipc)
  double dynamic_thresholding_ratio = 0.995;  // quantile of |x0| of each image
  double sample_max_value = 1;  // upper limit of the threshold
};

// One point of the noise process: x = sqrt(alpha_cumprod) x0 + sqrt(1 - alpha_cumprod) eps.
struct Level {
  double timestep = 0;  // as the network is told it; between two trained ones where a sigma lies there; -1 past the last
  double sigma = 0;  // sqrt((1 - alpha_cumprod) / alpha_cumprod): the noise's standard deviation over the signal's scale; may be infinite
  double alpha_cumprod = 1;
};

struct NoiseSchedule {
  NoiseScheduleOptions options;
  std::vector<double> alphas_cumprod;  // [T], falling; the last one is 0 with `rescale_betas_zero_snr`
};

// Throws ERR_INVALID_ARGUMENT for betas outside (0, 1] or T outside 1 to 100,000.
NoiseSchedule make_noise_schedule(const NoiseScheduleOptions& options);

// The level of a trained timestep.
Level level_at(const NoiseSchedule& schedule, int64_t timestep);

// A level by its sigma, with the timestep that belongs to it.
Level level_of_sigma(double sigma, double timestep);

}  // namespace seedbed::diffusion
