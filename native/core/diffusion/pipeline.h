#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "diffusion/model.h"
#include "diffusion/sampler.h"
#include "image/image.h"
#include "nn/attention_controls.h"

// From a prompt, noise and perhaps a picture to pictures.

namespace seedbed::diffusion {

// What the network is told, and how strongly it follows.
struct Guidance {
  at::Tensor prompt;           // [1 or B, L, D]
  at::Tensor negative_prompt;  // the same; undefined: no guidance
  double scale = 7.5;          // classifier-free guidance (Ho & Salimans 2022); 1: none
  double rescale = 0;          // share of the rescaling of arXiv 2305.08891, section 3.4
  std::optional<nn::FreeU> free_u;
  std::optional<nn::FeatureCacheOptions> feature_cache;  // both: faster, and another result
  std::optional<nn::TokenMerging> token_merging;
  nn::AttentionControl* control = nullptr;  // not owned
};

// The network with guidance, both halves in one batch, as a predictor for x of `images` pictures. Keys and values of the
// prompt are computed once. `model` must outlive the result.
Predict guided_predictor(const Model& model, const Guidance& guidance, int64_t images, const nn::Poll& poll);

// The same without caches for rows that stand at different timesteps: x [B, C, h, w], timesteps [B].
at::Tensor guided_rows(const Model& model, const Guidance& guidance, const at::Tensor& x, const at::Tensor& timesteps, const nn::Poll& poll);

// One call of the network without guidance: latents [B, C, h, w], timesteps [1 or B], context [1 or B, L, D].
at::Tensor predict_noise(const Model& model, const at::Tensor& latents, const at::Tensor& timesteps, const at::Tensor& context, const nn::UnetOptions& options);

struct GenerateOptions {
  Guidance guidance;
  std::vector<uint64_t> seeds;     // one picture each
  int64_t width = 512;             // pixels, multiples of the autoencoder's factor
  int64_t height = 512;
  SamplerOptions sampler;
  NoiseSchedule schedule;
  at::Tensor latents;              // [B, C, h, w] noise to begin with, standard normal; undefined: drawn
  at::Tensor image;                // [1 or B, 3, H, W] in [-1, 1] to begin with; undefined: none
  double strength = 0.8;           // with an image: share of the steps that are taken
  at::Tensor mask;                 // [1 or B, 1, H, W] in [0, 1], with an image: 1 is painted anew, 0 is kept
  int64_t batch_size = 4;          // pictures per call of the network; part of the result's rounding
  nn::AttentionControlOptions attention;  // pictures by their place in `seeds`
  int64_t preview_every = 0;       // steps between previews, 0: none
  bool tiled = false;              // encode and decode in tiles
  bool decode = true;              // false: latents only
};

// Called after each step; `done` and `total` count the steps of all batches. The preview is small or missing.
using OnGenerate = std::function<void(int64_t done, int64_t total, double sigma, const std::vector<image::Image>& preview)>;

struct Generated {
  at::Tensor latents;                // [B, C, h, w]
  std::vector<image::Image> images;  // empty without `decode`
  std::vector<nn::AttentionRecord> attention;  // empty without `attention.record`
};

// Throws ERR_INVALID_ARGUMENT and ERR_SHAPE before any work, ERR_NOT_FINITE when the network gives NaN.
Generated generate(const Model& model, const GenerateOptions& options, const OnGenerate& on_step, const nn::Poll& poll);

// pixels [B, 3, H, W] in [-1, 1] -> 8-bit pictures.
std::vector<image::Image> to_images(const at::Tensor& pixels);

}  // namespace seedbed::diffusion
