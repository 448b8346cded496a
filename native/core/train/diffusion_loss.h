#pragma once

#include <ATen/core/Tensor.h>

#include "diffusion/schedule.h"

namespace seedbed::train {

// A batch on its way through the noise process.
struct NoisyBatch {
  at::Tensor x;       // [B, C, h, w] sqrt(a) latents + sqrt(1 - a) noise
  at::Tensor target;  // [B, C, h, w] what the network should say: noise, velocity or latents
  at::Tensor weight;  // [B] of its error
};

// timesteps [B] int64. `min_snr_gamma` 0: all weights 1; else min(snr, gamma) / snr for predicted noise, / (snr + 1) for velocity,
// min(snr, gamma) for latents (Hang et al. 2023, arXiv 2303.09556, and its readers in diffusers).
NoisyBatch make_noisy(const diffusion::NoiseSchedule& schedule, const at::Tensor& latents, const at::Tensor& noise, const at::Tensor& timesteps, double min_snr_gamma);

// [B] mean square error of each row, weighted.
at::Tensor row_losses(const NoisyBatch& batch, const at::Tensor& output);

}  // namespace seedbed::train
