#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "diffusion/schedule.h"

namespace seedbed::diffusion {

// The best guess of x0 for a noisy x: what every network, guidance and control becomes before a sampler sees it.
// x: [B, C, h, w], float32, as the network sees it (variance preserving: x = sqrt(a) x0 + sqrt(1 - a) eps), at every
// level, also where the signal is gone (a = 0). Returns x0, [B, C, h, w], float32.
using Denoise = std::function<at::Tensor(const at::Tensor& x, const Level& level)>;

// A network's raw output for (x, level); same shapes.
using Predict = std::function<at::Tensor(const at::Tensor& x, const Level& level)>;

// A denoiser from a network that predicts noise, velocity or x0.
Denoise denoiser_of(Predict predict, Prediction prediction);

// x0 from a network's output. Throws ERR_INVALID_ARGUMENT for predicted noise at a level without signal.
at::Tensor to_denoised(const at::Tensor& output, const at::Tensor& x, const Level& level, Prediction prediction);

// The network's output from x0: the inverse of `to_denoised`. Needs noise in x (sigma > 0).
at::Tensor to_output(const at::Tensor& denoised, const at::Tensor& x, const Level& level, Prediction prediction);

// The noise in x by this x0: (x - sqrt(a) x0) / sqrt(1 - a). Needs sigma > 0.
at::Tensor to_epsilon(const at::Tensor& denoised, const at::Tensor& x, const Level& level);

// sqrt(a) x0 + sqrt(1 - a) noise: a clean image with the noise of a level.
at::Tensor add_noise(const at::Tensor& x0, const at::Tensor& noise, const Level& level);

// x0 within the limits the schedule asks for: dynamic thresholding, else clamping, else as it is.
at::Tensor limit_denoised(const at::Tensor& denoised, const NoiseScheduleOptions& options);

// Standard normal noise, a generator for each image: image i of a batch gets what it would get alone. Draws equal
// torch.randn((1, C, h, w), generator=torch.Generator().manual_seed(seed)), one after the other.
class NoiseSource {
 public:
  // Image i gets the seed `seed + i`.
  NoiseSource(uint64_t seed, int64_t images);
  explicit NoiseSource(const std::vector<uint64_t>& seeds);

  int64_t images() const { return static_cast<int64_t>(generators_.size()); }
  // The next noise of each image: [images, C, h, w], float32.
  at::Tensor draw(int64_t C, int64_t h, int64_t w);
  at::Tensor draw_like(const at::Tensor& x);

 private:
  std::vector<at::Generator> generators_;
};

}  // namespace seedbed::diffusion
