#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "diffusion/denoiser.h"
#include "diffusion/weights.h"
#include "nn/autoencoder_kl.h"
#include "nn/clip.h"
#include "nn/unet_2d_condition.h"

namespace seedbed::diffusion {

// Where a network's weights come from: diffusers' files, or one checkpoint in the original layout.
struct WeightFiles {
  std::vector<std::string> files;
  bool original_layout = false;
};

struct ModelFiles {
  nn::UnetConfig unet;
  WeightFiles unet_files;
  nn::VaeConfig vae;
  WeightFiles vae_files;
  nn::ClipTextConfig text_encoder;
  WeightFiles text_encoder_files;
  std::optional<nn::ClipVisionConfig> image_encoder;
  WeightFiles image_encoder_files;
  nn::Placement placement;  // of the networks
};

// The networks of a latent diffusion model. Nothing in it changes once it is loaded, so calls may share it. They take inputs
// from any device and give results back to it: all between two calls of a network, noise too, stays on the CPU.
struct Model {
  explicit Model(const ModelFiles& files);

  int64_t parameter_count() const;
  int64_t bytes() const;

  nn::Placement placement;
  nn::Unet2dCondition unet;
  nn::AutoencoderKl vae;
  nn::ClipText text_encoder;
  std::unique_ptr<nn::ClipVision> image_encoder;  // may be missing
};

// Where the autoencoder computes: in float32 where the others compute in float16, whose range its feature maps leave (those
// of Stable Diffusion 1.x reach beyond 65504, and the picture is black).
nn::Placement vae_placement(const nn::Placement& model);

// Reads all weights, strict both ways. Throws ERR_NO_CUDA for a CUDA device without one. `on_part(done, parts)` is called before each network and may throw to cancel.
std::shared_ptr<Model> load_model(const ModelFiles& files, const std::function<void(int64_t done, int64_t parts, std::string_view name)>& on_part);

// pixels in [-1, 1] [B, 3, H, W] -> latents [B, C, h, w] as the UNet knows them: the mean of the encoder's distribution,
// or a draw from it. One picture at a time, in tiles when `tiled`.
at::Tensor encode_pixels(const Model& model, const at::Tensor& pixels, bool tiled, NoiseSource* noise, const nn::Poll& poll);

// The reverse. Throws ERR_NOT_FINITE when the autoencoder gives NaN, which would be black in a picture.
at::Tensor decode_latents(const Model& model, const at::Tensor& latents, bool tiled, const nn::Poll& poll);
// Of latents as the autoencoder itself knows them.
at::Tensor decode_unscaled(const Model& model, const at::Tensor& z, bool tiled, const nn::Poll& poll);

}  // namespace seedbed::diffusion
