#include "train/diffusion_loss.h"

#include <ATen/ATen.h>

#include "tensor/check.h"
#include "tensor/error.h"

namespace seedbed::train {

namespace {

// Shares of latents and noise in x, [B, 1, 1, 1] float32.
struct Mix {
  at::Tensor alphas;  // [B] double
  at::Tensor signal, spread;
};

Mix mix_at(const diffusion::NoiseSchedule& schedule, const at::Tensor& timesteps, const at::Device& device) {
  const at::Tensor alphas = at::tensor(schedule.alphas_cumprod, at::kDouble).index_select(0, timesteps.to(at::kLong).cpu());
  const auto for_rows = [&](const at::Tensor& x) { return x.to(at::kFloat).to(device).view({-1, 1, 1, 1}); };
  return {alphas, for_rows(alphas.sqrt()), for_rows((1 - alphas).sqrt())};
}

}  // namespace

NoisyBatch make_noisy(const diffusion::NoiseSchedule& schedule, const at::Tensor& latents, const at::Tensor& noise, const at::Tensor& timesteps, const SnrWeight& weight) {
  check_shape(latents, "latents", {-1, -1, -1, -1});
  check_shape(noise, "noise", {latents.size(0), latents.size(1), latents.size(2), latents.size(3)});
  check_shape(timesteps, "timesteps", {latents.size(0)});
  const auto [alphas, signal, spread] = mix_at(schedule, timesteps, latents.device());
  NoisyBatch batch{.x = signal * latents + spread * noise, .target = noise, .weight = at::ones({latents.size(0)})};
  const diffusion::Prediction prediction = schedule.options.prediction;
  if (prediction == diffusion::Prediction::v_prediction) batch.target = signal * noise - spread * latents;
  if (prediction == diffusion::Prediction::sample) batch.target = latents;
  if (weight.highest == 0) return batch;
  const at::Tensor snr = alphas / (1 - alphas), clamped = snr.clamp_min(weight.lowest).clamp_max(weight.highest);
  switch (prediction) {
    case diffusion::Prediction::epsilon: batch.weight = clamped / snr; break;
    case diffusion::Prediction::v_prediction: batch.weight = clamped / (snr + 1); break;
    case diffusion::Prediction::sample: batch.weight = clamped; break;
  }
  batch.weight = batch.weight.to(at::kFloat);
  return batch;
}

at::Tensor latents_from(const diffusion::NoiseSchedule& schedule, const at::Tensor& x, const at::Tensor& output, const at::Tensor& timesteps) {
  const auto [alphas, signal, spread] = mix_at(schedule, timesteps, x.device());
  switch (schedule.options.prediction) {
    case diffusion::Prediction::epsilon: return (x - spread * output) / signal;
    case diffusion::Prediction::v_prediction: return signal * x - spread * output;
    case diffusion::Prediction::sample: return output;
  }
  fail(ErrorCode::internal, "Unknown prediction");
}

at::Tensor row_losses(const NoisyBatch& batch, const at::Tensor& output) {
  return (output.to(at::kFloat) - batch.target).square().mean({1, 2, 3}) * batch.weight.to(output.device());
}

}  // namespace seedbed::train
