#pragma once

#include "nn/clip.h"
#include "tensor/safetensors.h"

// What both towers of a CLIP say, on the unit sphere.

namespace seedbed::train {

// At the start of a training from nothing.
inline constexpr double kFirstClipScale = 1 / 0.07;

// Both towers and the logarithm of the scale of their similarities, under transformers' names of a CLIPModel.
struct ClipModel {
  ClipModel(const nn::ClipTextConfig& text_config, const nn::ClipVisionConfig& vision_config);
  NamedTensors named_parameters() const;

  nn::ClipText text;
  nn::ClipVision vision;
  at::Tensor logit_scale;  // []
};

at::Tensor unit(const at::Tensor& x);  // [N, P], rows of length 1

// [N, P] of texts [N, L]. Padding that all have is left out: a causal tower's state at the end token is the same.
at::Tensor embed_texts(const ClipModel& model, const at::Tensor& ids);

// [N, P] of pixels [N, 3, S, S], normalised as CLIP takes them.
at::Tensor embed_pictures(const ClipModel& model, const at::Tensor& pixels);

}  // namespace seedbed::train
