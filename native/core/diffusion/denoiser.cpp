#include "diffusion/denoiser.h"

#include <ATen/ATen.h>

#include <cmath>

#include "tensor/check.h"
#include "tensor/error.h"
#include "tensor/rng.h"

namespace seedbed::diffusion {

namespace {

double signal(const Level& level) { return std::sqrt(level.alpha_cumprod); }
double noise(const Level& level) { return std::sqrt(1 - level.alpha_cumprod); }

// |x0| of each image beyond its quantile is clamped there, and the image scaled back to [-1, 1].
at::Tensor threshold(const at::Tensor& denoised, const NoiseScheduleOptions& o) {
  const at::Tensor flat = denoised.flatten(1);  // [B, C h w]
  const at::Tensor s = at::quantile(flat.abs(), o.dynamic_thresholding_ratio, 1, true).clamp(1, o.sample_max_value);  // [B, 1]
  return (at::minimum(at::maximum(flat, -s), s) / s).view_as(denoised);
}

}  // namespace

Denoise denoiser_of(Predict predict, Prediction prediction) {
  return [predict = std::move(predict), prediction](const at::Tensor& x, const Level& level) { return to_denoised(predict(x, level), x, level, prediction); };
}

at::Tensor to_denoised(const at::Tensor& output, const at::Tensor& x, const Level& level, Prediction prediction) {
  switch (prediction) {
    case Prediction::sample: return output;
    case Prediction::v_prediction: return signal(level) * x - noise(level) * output;
    case Prediction::epsilon:
      expect(level.alpha_cumprod > 0, "Expected v_prediction or sample for prediction at a timestep without signal ({}), received epsilon", level.timestep);
      return (x - noise(level) * output) / signal(level);
  }
  fail(ErrorCode::internal, "Unknown prediction");
}

at::Tensor to_output(const at::Tensor& denoised, const at::Tensor& x, const Level& level, Prediction prediction) {
  switch (prediction) {
    case Prediction::sample: return denoised;
    case Prediction::v_prediction: return (signal(level) * x - denoised) / noise(level);
    case Prediction::epsilon: return to_epsilon(denoised, x, level);
  }
  fail(ErrorCode::internal, "Unknown prediction");
}

at::Tensor to_epsilon(const at::Tensor& denoised, const at::Tensor& x, const Level& level) {
  expect(level.alpha_cumprod < 1, "Expected noise in x to take out, received a level without any");
  return (x - signal(level) * denoised) / noise(level);
}

at::Tensor add_noise(const at::Tensor& x0, const at::Tensor& eps, const Level& level) { return signal(level) * x0 + noise(level) * eps; }

at::Tensor limit_denoised(const at::Tensor& denoised, const NoiseScheduleOptions& options) {
  if (options.thresholding) return threshold(denoised, options);
  if (options.clip_sample) return denoised.clamp(-options.clip_sample_range, options.clip_sample_range);
  return denoised;
}

NoiseSource::NoiseSource(uint64_t seed, int64_t images) {
  for (int64_t i = 0; i < images; ++i) generators_.push_back(make_generator(seed + static_cast<uint64_t>(i)));
}

NoiseSource::NoiseSource(const std::vector<uint64_t>& seeds) {
  for (uint64_t seed : seeds) generators_.push_back(make_generator(seed));
}

at::Tensor NoiseSource::draw(int64_t C, int64_t h, int64_t w) {
  std::vector<at::Tensor> noise;
  for (at::Generator& generator : generators_) noise.push_back(at::randn({1, C, h, w}, generator, at::TensorOptions().dtype(at::kFloat)));
  return at::cat(noise);  // [B, C, h, w]
}

at::Tensor NoiseSource::draw_like(const at::Tensor& x) {
  check_shape(x, "x", {images(), -1, -1, -1});
  return draw(x.size(1), x.size(2), x.size(3)).to(x.device());
}

}  // namespace seedbed::diffusion
