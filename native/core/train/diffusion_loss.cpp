#include "train/diffusion_loss.h"

#include <ATen/ATen.h>

#include "tensor/check.h"

namespace seedbed::train {

NoisyBatch make_noisy(const diffusion::NoiseSchedule& schedule, const at::Tensor& latents, const at::Tensor& noise, const at::Tensor& timesteps, double min_snr_gamma) {
  check_shape(latents, "latents", {-1, -1, -1, -1});
  check_shape(noise, "noise", {latents.size(0), latents.size(1), latents.size(2), latents.size(3)});
  check_shape(timesteps, "timesteps", {latents.size(0)});
  const at::Tensor alphas = at::tensor(schedule.alphas_cumprod, at::kDouble).index_select(0, timesteps.to(at::kLong).cpu());  // [B]
  const auto for_rows = [&](const at::Tensor& x) { return x.to(at::kFloat).to(latents.device()).view({-1, 1, 1, 1}); };
  const at::Tensor signal = for_rows(alphas.sqrt()), spread = for_rows((1 - alphas).sqrt());
  NoisyBatch batch{.x = signal * latents + spread * noise, .target = noise, .weight = at::ones({latents.size(0)})};
  const diffusion::Prediction prediction = schedule.options.prediction;
  if (prediction == diffusion::Prediction::v_prediction) batch.target = signal * noise - spread * latents;
  if (prediction == diffusion::Prediction::sample) batch.target = latents;
  if (min_snr_gamma == 0) return batch;
  const at::Tensor snr = alphas / (1 - alphas), clamped = snr.clamp_max(min_snr_gamma);
  switch (prediction) {
    case diffusion::Prediction::epsilon: batch.weight = clamped / snr; break;
    case diffusion::Prediction::v_prediction: batch.weight = clamped / (snr + 1); break;
    case diffusion::Prediction::sample: batch.weight = clamped; break;
  }
  batch.weight = batch.weight.to(at::kFloat);
  return batch;
}

at::Tensor row_losses(const NoisyBatch& batch, const at::Tensor& output) {
  return (output.to(at::kFloat) - batch.target).square().mean({1, 2, 3}) * batch.weight.to(output.device());
}

}  // namespace seedbed::train
