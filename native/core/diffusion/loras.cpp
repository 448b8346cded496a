#include "diffusion/loras.h"

#include <ATen/ATen.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "tensor/check.h"
#include "tensor/error.h"

namespace seedbed::diffusion {

namespace {

using Factors = std::vector<std::pair<nn::LoraLayer, nn::LoraFactors>>;

// Pairs factors with a network's layers of the same names; returns how many there were.
int64_t match(const nn::Module& network, const std::map<std::string, nn::LoraFactors>& factors, Factors& out) {
  std::map<std::string, nn::LoraLayer> layers;
  for (nn::LoraLayer& layer : nn::lora_layers(network)) layers.emplace(layer.name, std::move(layer));
  std::vector<std::string> unknown;
  for (const auto& [name, f] : factors) {
    const auto found = layers.find(name);
    if (found == layers.end()) {
      unknown.push_back(name);
      continue;
    }
    nn::check_factors(found->second, f);
    out.emplace_back(found->second, f);
  }
  if (!unknown.empty()) fail(ErrorCode::weights, "The LoRA does not fit the model{}", list_names("layers it does not have", unknown));
  return static_cast<int64_t>(factors.size());
}

// One row for each vector, where and as the model computes.
NamedTensors place_embeddings(const NamedTensors& embeddings, const Model& model) {
  NamedTensors placed;
  const int64_t width = model.text_encoder.config().width;
  for (const auto& [token, given] : embeddings) {
    const at::Tensor rows = given.dim() == 1 ? given.unsqueeze(0) : given;
    if (rows.dim() != 2 || rows.size(0) < 1 || rows.size(1) != width || !at::isFloatingType(rows.scalar_type()))
      fail(ErrorCode::weights, "Expected an embedding [{}] or [vectors, {}] of floating point numbers for '{}', received [{}]", width, width, token, fmt::join(given.sizes(), ", "));
    check_finite(rows, token);
    placed.emplace_back(token, rows.to(model.placement.device, model.placement.dtype));
  }
  return placed;
}

}  // namespace

void Loras::add(const std::string& name, const LoraWeights& weights, double scale) {
  Entry entry{.info = {.name = name, .scale = scale, .merged = false, .unet_layers = 0, .text_encoder_layers = 0, .parameters = 0, .tokens = {}}, .factors = {}, .placed = {}, .embeddings = place_embeddings(weights.embeddings, *model_)};
  entry.info.unet_layers = match(model_->unet, weights.unet, entry.factors);
  entry.info.text_encoder_layers = match(model_->text_encoder, weights.text_encoder, entry.factors);
  expect(!entry.factors.empty() || !entry.embeddings.empty(), "Expected a LoRA with at least one layer, '{}' has none", name);
  for (const auto& [token, rows] : entry.embeddings) {
    entry.info.tokens.push_back(token);
    entry.info.parameters += rows.numel();
  }
  const nn::Placement& place = model_->placement;
  for (const auto& [layer, f] : entry.factors) {
    entry.info.parameters += f.down.numel() + f.up.numel();
    entry.placed.push_back({f.down.to(place.device, place.dtype), f.up.to(place.device, place.dtype), f.scale, std::make_shared<nn::PackedLowRank>(f.down, f.up)});
  }
  const std::lock_guard lock(mutex_);
  expect(std::ranges::none_of(entries_, [&](const Entry& e) { return e.info.name == name; }), "Expected a new name for the LoRA, '{}' is there already", name);
  for (const std::string& token : entry.info.tokens)
    for (const Entry& e : entries_) expect(std::ranges::find(e.info.tokens, token) == e.info.tokens.end(), "Expected a new word for the embedding '{}', the LoRA '{}' has it already", token, e.info.name);
  entries_.push_back(std::move(entry));
  current_ = build({});
}

void Loras::remove(const std::string& name) {
  const std::lock_guard lock(mutex_);
  entries_.erase(entries_.begin() + (&find(name) - entries_.data()));
  current_ = build({});
}

void Loras::set_scale(const std::string& name, double scale) {
  const std::lock_guard lock(mutex_);
  find(name).info.scale = scale;
  current_ = build({});
}

void Loras::set_merged(const std::string& name, bool merged) {
  const std::lock_guard lock(mutex_);
  find(name).info.merged = merged;
  current_ = build({});
}

std::vector<LoraInfo> Loras::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<LoraInfo> infos;
  for (const Entry& entry : entries_) infos.push_back(entry.info);
  return infos;
}

std::shared_ptr<const nn::ActiveLoras> Loras::active(const std::map<std::string, double>& scales) const {
  const std::lock_guard lock(mutex_);
  for (const auto& [name, _] : scales)
    expect(std::ranges::any_of(entries_, [&](const Entry& e) { return e.info.name == name; }), "Expected the name of a LoRA that was added, received '{}'", name);
  return scales.empty() ? current_ : build(scales);
}

Loras::Entry& Loras::find(const std::string& name) {
  const auto found = std::ranges::find_if(entries_, [&](const Entry& e) { return e.info.name == name; });
  expect(found != entries_.end(), "Expected the name of a LoRA that was added, received '{}'", name);
  return *found;
}

std::shared_ptr<nn::ActiveLoras> Loras::build(const std::map<std::string, double>& scales) const {
  auto active = std::make_shared<nn::ActiveLoras>();
  std::map<const nn::Module*, std::pair<std::string, std::vector<nn::LoraFactors>>> merged;
  for (const Entry& entry : entries_) {
    const auto own = scales.find(entry.info.name);
    const double scale = own == scales.end() ? entry.info.scale : own->second;
    if (scale == 0) continue;
    for (const auto& [token, rows] : entry.embeddings) active->add_placeholder(model_->text_encoder, model_->text_encoder.config().vocab_size, token, rows);
    for (size_t i = 0; i < entry.factors.size(); ++i) {
      const auto& [layer, given] = entry.factors[i];
      const nn::LoraFactors& f = entry.info.merged ? given : entry.placed[i];
      const nn::LoraFactors scaled{f.down, f.up, f.scale * scale, f.packed};
      if (!entry.info.merged) {
        active->at(*layer.layer).add(scaled);
        continue;
      }
      auto& [name, factors] = merged[layer.layer];
      name = layer.name;
      factors.push_back(scaled);
    }
  }
  for (const auto& [layer, named] : merged) {
    const auto& [name, factors] = named;
    const nn::LoraSite* const before = current_->find(*layer);
    const bool same = before != nullptr && before->merged() && before->merged()->made_of(factors);
    active->at(*layer).set_merged(same ? before->merged() : std::make_shared<nn::MergedWeight>(factors, model_->placement, name));
  }
  return active;
}

NamedTensors merged_parameters(const nn::Module& network, const nn::ActiveLoras& active) {
  std::map<std::string, const nn::MergedWeight*> changed;
  for (const auto& layer : nn::lora_layers(network))
    if (const nn::LoraSite* site = active.find(*layer.layer); site != nullptr && site->merged()) changed[layer.name + ".weight"] = site->merged().get();
  NamedTensors parameters = network.named_parameters();
  for (auto& [name, value] : parameters)
    if (const auto found = changed.find(name); found != changed.end()) value = found->second->of(value.detach());
  return parameters;
}

}  // namespace seedbed::diffusion
