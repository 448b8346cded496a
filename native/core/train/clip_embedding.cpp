#include "train/clip_embedding.h"

#include <ATen/ATen.h>

#include <cmath>

namespace seedbed::train {

namespace {

constexpr int64_t kLegacyEos = 2;  // of configurations that do not name the true one

// Rows without the padding that all of them have; a causal tower's state at the end token is the same.
at::Tensor without_padding(const at::Tensor& ids, int64_t eos) {
  if (eos == kLegacyEos) return ids;
  return ids.slice(1, 0, (ids == eos).to(at::kInt).argmax(1).max().item<int64_t>() + 1);
}

}  // namespace

ClipModel::ClipModel(const nn::ClipTextConfig& text_config, const nn::ClipVisionConfig& vision_config)
    : text(text_config), vision(vision_config), logit_scale(at::full({}, std::log(kFirstClipScale), at::kFloat)) {
  logit_scale.requires_grad_(true);
}

NamedTensors ClipModel::named_parameters() const {
  NamedTensors all = text.named_parameters();
  for (auto& one : vision.named_parameters()) all.push_back(std::move(one));
  all.emplace_back("logit_scale", logit_scale);
  return all;
}

at::Tensor unit(const at::Tensor& x) { return x / at::linalg_vector_norm(x, 2, at::IntArrayRef({-1}), true); }

at::Tensor embed_texts(const ClipModel& model, const at::Tensor& ids) { return unit(model.text(without_padding(ids, model.text.config().eos_token_id)).projected); }

at::Tensor embed_pictures(const ClipModel& model, const at::Tensor& pixels) { return unit(model.vision(pixels).projected); }

}  // namespace seedbed::train
