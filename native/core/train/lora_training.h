#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "diffusion/loras.h"
#include "train/lora_factors.h"
#include "train/lora_samples.h"
#include "train/trainer.h"

// LoRA adapters from a few pictures: the diffusion loss on noisy latents, gradients for the factors alone.

namespace seedbed::train {

struct LoraShape : LoraDraw {
  std::vector<std::string> unet_targets{};          // endings of layers' names, ".to_q"
  std::vector<std::string> text_encoder_targets{};  // empty: the text encoder stays as it is, and prompts are encoded once
};

struct LoraExample {
  image::Image image;  // RGB, both sides at least `LoraTrainOptions::size`
  at::Tensor ids;      // [L] int64, of its prompt
  bool prior = false;  // of the class in general, against forgetting (DreamBooth, arXiv 2208.12242)
};

// What a reference drew, in place of own draws.
struct FixedDraws {
  at::Tensor latents;    // [steps, B, C, h, w] as the UNet knows them
  at::Tensor noise;      // [steps, B, C, h, w]
  at::Tensor timesteps;  // [steps, B] int64
};

struct LoraTrainOptions {
  LoraShape lora;
  UpdateOptions updates{.optimizer = {.weight_decay = 0.01}, .schedule = {.base = 1e-4, .warmup = 0, .min = 0, .warmup_prefix = true}, .clip_norm = 1, .checkpoint_every = 100};
  int64_t batch_size = 8;
  int64_t shards = 2;            // of a batch, whose gradients are computed side by side; part of the result's identity
  int64_t accumulation = 1;      // batches whose mean gradient makes a step
  int64_t size = 512;            // pixels of a side of the square crops
  bool flip = false;             // half of the pictures left-right
  double min_snr_gamma = 0;      // weights min(snr, gamma) / snr (arXiv 2303.09556); 0: none
  double noise_offset = 0;       // share of noise that is the same at all places of a channel
  double prior_weight = 1;       // of the loss on prior examples
  bool recompute = false;        // a third more time, much less memory
  uint64_t seed = 0;
  diffusion::NoiseSchedule noise;
  diffusion::LoraWeights initial;  // factors to begin with; empty: drawn
  std::optional<FixedDraws> fixed;
  std::optional<LoraSamples> samples;  // no part of the result's identity
};

struct LoraCallbacks {
  TrainCallbacks train;
  std::function<void(int64_t done, int64_t total)> on_encode;  // pictures whose latents are computed before the first step
  std::function<void(int64_t step, const std::vector<image::Image>&)> on_sample;
  nn::Poll poll;  // called between blocks of the networks; may throw `Cancelled`
};

struct LoraResult {
  TrainResult train;
  diffusion::LoraWeights weights;  // scale alpha / rank
};

// Every draw is a function of the seed and the place in the run: a resumed run equals an unbroken one bit for bit. On
// `Cancelled` and every `checkpoint_every` steps the state is written. Adapters that are active on the model have no part in it.
// Throws ERR_INVALID_ARGUMENT, ERR_SHAPE, ERR_NOT_FINITE before a bad update.
LoraResult train_lora(const diffusion::Model& model, const std::vector<LoraExample>& examples, const LoraTrainOptions& options, WorkerPool& pool, const LoraCallbacks& callbacks);

}  // namespace seedbed::train
