#pragma once

#include <optional>

#include "nn/autoencoder_kl.h"
#include "train/trainer.h"

// A latent diffusion autoencoder from pictures alone (Rombach et al. 2022, without the adversarial part).

namespace seedbed::train {

// What a reference drew, in place of own draws.
struct FixedAutoencoderDraws {
  at::Tensor places;  // [steps, B] int64, pictures of each batch, uncut
  at::Tensor noise;   // [steps, B, latent, h, w]
};

struct AutoencoderOptions {
  UpdateOptions updates{.optimizer = {.weight_decay = 0.01, .beta2 = 0.99},
                        .schedule = {.base = 1e-3, .warmup = 0, .min = 0, .warmup_prefix = true},
                        .clip_norm = 1,
                        .average_decay = 0.999,
                        .checkpoint_every = 500};
  int64_t batch_size = 64;
  int64_t shard_size = 16;      // pictures whose gradient one thread computes at a time; part of the result's identity
  int64_t crop = 0;             // side of random squares to learn from, pixels; 0: whole pictures
  int64_t whole_steps = 0;      // of the last steps, which see whole pictures
  double edge_weight = 0.5;     // of the error of differences between neighbours
  double kl_weight = 5e-4;
  bool normalise = true;        // fold the latents' mean and deviation into the quant convolutions
  int64_t evaluate_every = 0;   // steps; 0: only at the end
  uint64_t seed = 0;
  NamedTensors initial;         // weights to begin with; empty: drawn
  std::optional<FixedAutoencoderDraws> fixed;
};

struct AutoencoderResult {
  TrainResult train;            // evaluations: loss is the mean absolute error, accuracy the mean PSNR in decibels
  NamedTensors weights;         // averaged, if asked for; with the normalisation
  std::vector<double> mean, deviation;  // [latent] of the latents before it
};

// Learns to encode and decode `pictures` [N, H, W, 3] uint8, in float32. With d = decoded - pixels, in [-1, 1], the loss of a batch is
//   mean |d| + edge_weight (mean |d differences of horizontal neighbours| + mean |of vertical ones|) + kl_weight mean KL
// each mean over all its elements; KL of a latent's element against N(0, 1) is (mean^2 + variance - 1 - log variance) / 2 nats.
// `validation` may be undefined; it is measured through the latents' mean. Every draw is a function of the seed and the place in the
// run: a resumed run equals an unbroken one bit for bit. Throws ERR_INVALID_ARGUMENT, ERR_SHAPE, ERR_WEIGHTS, ERR_NOT_FINITE before a bad update.
AutoencoderResult train_autoencoder(const nn::VaeConfig& config, const at::Tensor& pictures, const at::Tensor& validation, const AutoencoderOptions& options, WorkerPool& pool,
                                    const TrainCallbacks& callbacks = {});

// Makes latents of mean `mean` and deviation `deviation` [latent] each into ones of 0 and 1, within the quant convolutions: what is
// decoded stays the same. Weights by name, changed in place.
void fold_normalisation(const NamedTensors& weights, const at::Tensor& mean, const at::Tensor& deviation);

}  // namespace seedbed::train
