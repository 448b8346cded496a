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

// How errors at different noise count: with s = clamp(snr, lowest, highest), s / snr of predicted noise, s / (snr + 1) of velocity, s of latents.
// lowest 0 is min-SNR (Hang et al. 2023, arXiv 2303.09556, and its readers in diffusers), which for velocity leaves nothing at
// high noise, where a prompt decides most; lowest 1 does. highest 0: all weights 1.
struct SnrWeight {
  double lowest = 0, highest = 0;
};

// timesteps [B] int64.
NoisyBatch make_noisy(const diffusion::NoiseSchedule& schedule, const at::Tensor& latents, const at::Tensor& noise, const at::Tensor& timesteps, const SnrWeight& weight);

// What a network's output for x says of the latents [B, C, h, w].
at::Tensor latents_from(const diffusion::NoiseSchedule& schedule, const at::Tensor& x, const at::Tensor& output, const at::Tensor& timesteps);

// [B] mean square error of each row, weighted.
at::Tensor row_losses(const NoisyBatch& batch, const at::Tensor& output);

}  // namespace seedbed::train
