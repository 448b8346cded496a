#include "train/lora_samples.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "nn/recompute.h"
#include "tensor/check.h"

namespace seedbed::train {

namespace {

void activate(const nn::Module& network, const std::map<std::string, nn::LoraFactors>& factors, nn::ActiveLoras& active) {
  for (const nn::LoraLayer& layer : nn::lora_layers(network))
    if (const auto found = factors.find(layer.name); found != factors.end()) active.at(*layer.layer).add({found->second.down.detach(), found->second.up.detach(), found->second.scale});
}

}  // namespace

void check_samples(const LoraSamples& samples) {
  check_range(samples.every, "samples.every", 1, 100'000'000);
  check_shape(samples.prompt_ids, "samples.prompts", {static_cast<int64_t>(samples.options.seeds.size()), -1});
}

std::vector<image::Image> make_samples(const diffusion::Model& model, const LoraSamples& samples, const diffusion::LoraWeights& weights, const nn::Poll& poll) {
  const c10::NoGradGuard no_grad;
  const nn::PlainWeightsScope plain;
  nn::ActiveLoras active;
  activate(model.unet, weights.unet, active);
  activate(model.text_encoder, weights.text_encoder, active);
  const nn::LoraScope scope(&active);
  diffusion::GenerateOptions options = samples.options;
  options.guidance.prompt = model.text_encoder(samples.prompt_ids).states;
  if (samples.negative_ids.defined()) options.guidance.negative_prompt = model.text_encoder(samples.negative_ids).states;
  return diffusion::generate(model, options, {}, poll).images;
}

}  // namespace seedbed::train
