#include "nn/network_adapter.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "tensor/error.h"

namespace seedbed::nn {

NetworkAdapter::NetworkAdapter(const Module& network, const std::map<std::string, LoraFactors>& factors, AdapterUse use) {
  expect(!factors.empty(), "Expected an adapter with at least one layer");
  for (const LoraLayer& layer : lora_layers(network)) {
    const auto found = factors.find(layer.name);
    if (found == factors.end()) continue;
    check_factors(layer, found->second);
    const auto own = [&](const at::Tensor& factor) { return factor.detach().to(at::kFloat).clone().requires_grad_(use == AdapterUse::training); };
    LoraFactors f{own(found->second.down), own(found->second.up), found->second.scale, nullptr, layer.first_row};
    if (use == AdapterUse::inference) f.packed = std::make_shared<PackedLowRank>(f.down, f.up);
    active_.at(*layer.layer).add(f);
    factors_.emplace(layer.name, std::move(f));
  }
  std::vector<std::string> unknown;
  for (const auto& [name, f] : factors)
    if (!factors_.contains(name)) unknown.push_back(name);
  if (!unknown.empty()) fail(ErrorCode::weights, "The adapter does not fit the network{}", list_names("layers it does not have", unknown));
}

NamedTensors NetworkAdapter::parameters() const {
  NamedTensors out;
  for (const auto& [name, f] : factors_) {
    out.emplace_back(name + ".down", f.down);
    out.emplace_back(name + ".up", f.up);
  }
  return out;
}

int64_t NetworkAdapter::parameter_count() const {
  int64_t count = 0;
  for (const auto& [name, f] : factors_) count += f.down.numel() + f.up.numel();
  return count;
}

NamedTensors merged_state(const Module& network, const NetworkAdapter& adapter) {
  const c10::NoGradGuard no_grad;
  std::map<const Module*, std::vector<LoraFactors>> changes;
  std::map<std::string, const Module*> layers;
  for (const LoraLayer& layer : lora_layers(network)) {
    layers.emplace(layer.name + ".weight", layer.layer);
    if (const auto found = adapter.factors().find(layer.name); found != adapter.factors().end()) changes[layer.layer].push_back(found->second);
  }
  NamedTensors state = network.named_state();
  for (auto& [name, value] : state) {
    const auto layer = layers.find(name);
    const auto change = layer == layers.end() ? changes.end() : changes.find(layer->second);
    value = change == changes.end() ? value.detach() : MergedWeight(change->second, {}, name).of(value.detach());
  }
  return state;
}

}  // namespace seedbed::nn
