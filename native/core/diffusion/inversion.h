#pragma once

#include <functional>
#include <vector>

#include "diffusion/pipeline.h"

// From a picture to the noise that leads to it.

namespace seedbed::diffusion {

enum class InversionKind { ddim, edit_friendly };

// `done` of `total` calls of the network.
using OnInvert = std::function<void(int64_t done, int64_t total)>;

struct Trajectory {
  std::vector<Level> levels;          // [n], from the least noise to the most
  std::vector<at::Tensor> latents;    // [n] of [B, C, h, w]: x at each level
};

// DDIM run backwards (arXiv 2010.02502, section 4.3; 2105.05233, appendix F): x0 [B, C, h, w] goes up the levels that
// `steps` steps of ddim come down.
Trajectory invert_ddim(const Predict& predict, const NoiseSchedule& schedule, int64_t steps, at::Tensor x0, const OnInvert& on_step);

// Edit-friendly DDPM inversion (arXiv 2304.06140, algorithm 1): x at each level from x0 with independent noises, and the
// noises of the steps between them, with which ddim at eta 1 comes back to x0 exactly.
struct EditFriendly {
  SamplePlan plan;
  std::vector<at::Tensor> latents;  // [n] of [B, C, h, w]: x at plan.levels
  std::vector<at::Tensor> noises;   // [n] of [B, C, h, w]: of step i
};

// The steps do not depend on each other: `batch` of them share a call of the network.
EditFriendly invert_edit_friendly(const Model& model, const Guidance& guidance, const NoiseSchedule& schedule, int64_t steps, const at::Tensor& x0, NoiseSource& noise,
                                  int64_t batch, const OnInvert& on_step, const nn::Poll& poll);

// Down the plan again from x [B, C, h, w] at step `start`, with the noises found, perhaps with another prompt in `denoise`.
at::Tensor replay(const SamplePlan& plan, const std::vector<at::Tensor>& noises, int64_t start, at::Tensor x, const Denoise& denoise, const OnInvert& on_step);

// The levels of `steps` steps of ddim, between which both inversions go.
SamplePlan ddim_plan(const NoiseSchedule& schedule, int64_t steps);

}  // namespace seedbed::diffusion
