#pragma once

#include <array>
#include <functional>
#include <optional>

#include "diffusion/schedule.h"
#include "nn/autoencoder_kl.h"
#include "nn/clip.h"
#include "nn/unet_2d_condition.h"
#include "train/captioned_pictures.h"
#include "train/diffusion_loss.h"
#include "train/trainer.h"

// A latent diffusion model's UNet from pictures with captions (Rombach et al. 2022), with the autoencoder as it is, and the text encoder as it is or learning along.

namespace seedbed::train {

// What a reference drew, in place of own draws.
struct FixedDiffusionDraws {
  at::Tensor latents, noise;  // [steps, B, C, h, w] as the UNet knows them
  at::Tensor timesteps;       // [steps, B] int64
  at::Tensor ids;             // [steps, B, L] int64
};

struct DiffusionTrainOptions {
  UpdateOptions updates{.optimizer = {.weight_decay = 0.01, .beta2 = 0.99},
                        .schedule = {.base = 6e-4, .warmup = 0, .min = 0, .warmup_prefix = true},
                        .clip_norm = 1,
                        .average_decay = 0.999,
                        .checkpoint_every = 500};
  int64_t batch_size = 64;
  int64_t shard_size = 32;         // pictures whose gradient one thread computes at a time; part of the result's identity
  double caption_dropout = 0.1;    // share of uses with the empty caption, for classifier-free guidance
  SnrWeight weight{.lowest = 1, .highest = 5};
  double text_lr = 0;              // highest learning rate of the text encoder, which follows the UNet's schedule; 0: it stays as it is
  double noise_offset = 0;         // share of noise that is the same at all places of a channel
  bool recompute = false;
  int64_t check_every = 0;         // steps; 0: only at the end
  uint64_t seed = 0;
  diffusion::NoiseSchedule noise;
  at::Tensor empty_caption;        // [L] int64
  std::string latents;             // file that keeps the pictures' latents for a resumed run; empty: none
  NamedTensors initial;            // weights to begin with; empty: drawn, the last convolution 0
  std::optional<FixedDiffusionDraws> fixed;
};

// How well the averaged network finds x0 from fixed noisy latents: mean square errors by quarter of the timesteps, falling noise last. A net that reads
// its captions does worse with those of other pictures where there is almost only noise.
struct CaptionCheck {
  int64_t step = 0;
  std::array<double, 4> error{};  // of timesteps [0, T / 4), ...
  double right = 0, shuffled = 0;  // at timesteps of 9/10 T and more, with each picture's caption and with another's
};

struct DiffusionCallbacks {
  TrainCallbacks train;
  std::function<void(int64_t done, int64_t total)> on_encode;  // pictures whose latents are computed before the first step
  std::function<void(const CaptionCheck&)> on_check;
  std::function<void()> poll;  // on any thread; may throw `Cancelled`
};

struct DiffusionResult {
  TrainResult train;
  NamedTensors weights;       // averaged, if asked for
  NamedTensors text_weights;  // likewise, without the projection; none where the text encoder stays as it is
  CaptionCheck check;    // at the end
};

// Trains a UNet of `config`. Latents of all pictures are computed once and kept in half precision; timesteps are stratified over a
// batch. `checked` (may be null) are the pictures of the checks, else the first of those trained on. Every draw is a
// function of the seed and the place in the run: a resumed run equals an unbroken one bit for bit. Throws ERR_INVALID_ARGUMENT, ERR_SHAPE,
// ERR_WEIGHTS, ERR_NOT_FINITE before a bad update.
DiffusionResult train_diffusion(const nn::UnetConfig& config, const nn::AutoencoderKl& vae, const nn::ClipText& text_encoder, const CaptionedPictures& data,
                                const CaptionedPictures* checked, const DiffusionTrainOptions& options, WorkerPool& pool, const DiffusionCallbacks& callbacks = {});

}  // namespace seedbed::train
