#pragma once

#include <vector>

#include "diffusion/loras.h"
#include "diffusion/pipeline.h"

// Pictures that show what an adapter has learnt so far.

namespace seedbed::train {

struct LoraSamples {
  int64_t every = 100;               // steps; there are pictures after the last one too
  at::Tensor prompt_ids;             // [pictures, L] int64
  at::Tensor negative_ids;           // [1 or pictures, L] int64; undefined: no guidance
  diffusion::GenerateOptions options;  // but for the prompts
};

// Throws ERR_INVALID_ARGUMENT.
void check_samples(const LoraSamples& samples);

// With these factors as they are now, whatever else is active on the model. Reads the plain weights, as the training around it does, so that it takes no
// memory for packed ones. `poll` is called between the blocks of the networks and may throw `Cancelled`.
std::vector<image::Image> make_samples(const diffusion::Model& model, const LoraSamples& samples, const diffusion::LoraWeights& weights, const nn::Poll& poll);

}  // namespace seedbed::train
