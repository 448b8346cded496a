#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "nn/resnet_block_2d.h"

namespace seedbed::nn {

// Sizes of diffusers' AutoencoderKL, as its config.json states them.
struct VaeConfig {
  int64_t in_channels = 3;
  int64_t out_channels = 3;
  int64_t latent_channels = 4;
  std::vector<int64_t> block_out_channels{128, 256, 512, 512};
  int64_t layers_per_block = 2;
  int64_t norm_groups = 32;
  double scaling_factor = 0.18215;
  double shift_factor = 0;
  int64_t sample_size = 512;  // pixels, the side of a tile
  bool use_quant_conv = true;
  bool use_post_quant_conv = true;
  bool mid_block_attention = true;

  int64_t factor() const { return int64_t{1} << (block_out_channels.size() - 1); }  // pixels per latent
};

// Self-attention with one head over the positions of a feature map.
class VaeAttention : public Module {
 public:
  VaeAttention(int64_t channels, int64_t groups);
  at::Tensor operator()(const at::Tensor& x) const;  // [B, C, H, W]

 private:
  GroupNorm group_norm_;
  Linear to_q_, to_k_, to_v_, to_out_;
};

class VaeMidBlock : public Module {
 public:
  VaeMidBlock(const VaeConfig& config, int64_t channels);
  at::Tensor operator()(const at::Tensor& x) const;

 private:
  ResnetBlock2d first_;
  std::unique_ptr<VaeAttention> attention_;
  ResnetBlock2d second_;
};

// One resolution: blocks, then a change of size except at the last level.
template <typename Resample>
struct VaeLevel {
  std::vector<std::unique_ptr<ResnetBlock2d>> resnets;
  std::unique_ptr<Resample> resample;
};

// Called between blocks; throws to cancel.
using Poll = std::function<void()>;

class VaeEncoder : public Module {
 public:
  explicit VaeEncoder(const VaeConfig& config);
  at::Tensor operator()(const at::Tensor& pixels, const Poll& poll) const;  // [B, 3, H, W] -> [B, 2 latent, H / f, W / f]

 private:
  Conv2d conv_in_;
  std::vector<VaeLevel<Downsample2d>> levels_;
  VaeMidBlock mid_block_;
  GroupNorm conv_norm_out_;
  Conv2d conv_out_;
};

class VaeDecoder : public Module {
 public:
  explicit VaeDecoder(const VaeConfig& config);
  at::Tensor operator()(const at::Tensor& z, const Poll& poll) const;  // [B, latent, h, w] -> [B, 3, h f, w f]

 private:
  Conv2d conv_in_;
  std::vector<VaeLevel<Upsample2d>> levels_;
  VaeMidBlock mid_block_;
  GroupNorm conv_norm_out_;
  Conv2d conv_out_;
};

// The autoencoder of latent diffusion (Rombach et al. 2022) with diffusers' parameter names. Latents here are as the
// encoder makes them; `scaling_factor` is applied by the pipelines. Results lie on the input's device.
class AutoencoderKl : public Module {
 public:
  explicit AutoencoderKl(const VaeConfig& config);

  const VaeConfig& config() const { return config_; }

  // pixels in [-1, 1] [B, 3, H, W] -> mean and log variance [B, latent, h, w] each, float32.
  std::pair<at::Tensor, at::Tensor> encode(const at::Tensor& pixels, const Poll& poll = {}) const;
  // z [B, latent, h, w] -> pixels [B, 3, H, W], about [-1, 1], float32.
  at::Tensor decode(const at::Tensor& z, const Poll& poll = {}) const;
  // The same in overlapping tiles of `sample_size` pixels, blended: memory does not grow with the picture. Equal to
  // `encode` and `decode` up to what a tile cannot see of the rest.
  std::pair<at::Tensor, at::Tensor> encode_tiled(const at::Tensor& pixels, const Poll& poll = {}) const;
  at::Tensor decode_tiled(const at::Tensor& z, const Poll& poll = {}) const;

 private:
  void check_pixels(const at::Tensor& pixels) const;
  at::Tensor moments(const at::Tensor& pixels, const Poll& poll) const;  // [B, 2 latent, h, w], float32

  VaeConfig config_;
  VaeEncoder encoder_;
  VaeDecoder decoder_;
  std::unique_ptr<Conv2d> quant_conv_, post_quant_conv_;
};

}  // namespace seedbed::nn
