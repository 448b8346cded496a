#include "train/lora_factors.h"

#include <ATen/ATen.h>
#include <fmt/ranges.h>

#include <cmath>

#include "tensor/check.h"
#include "tensor/error.h"
#include "tensor/rng.h"

namespace seedbed::train {

namespace {

constexpr int64_t kMaxRank = 4096;

}  // namespace

std::map<std::string, nn::LoraFactors> draw_factors(const nn::Module& network, std::string_view name, const std::vector<std::string>& targets, const LoraDraw& draw, uint64_t seed) {
  check_range(draw.rank, "rank", 1, kMaxRank);
  check_range(draw.alpha, "alpha", 0.0, 1e6);
  std::map<std::string, nn::LoraFactors> factors;
  std::vector<bool> used(targets.size());
  for (const nn::LoraLayer& layer : nn::lora_layers(network)) {
    const std::string dotted = "." + layer.name;
    bool chosen = false;
    for (size_t i = 0; i < targets.size(); ++i)
      if (dotted.ends_with("." + targets[i])) chosen = used[i] = true;
    if (!chosen) continue;
    std::vector<int64_t> down = layer.weight.sizes().vec();
    const int64_t rows = down[0], inputs = layer.weight[0].numel();
    down[0] = draw.rank;
    at::Generator generator = make_generator(derive_seed(seed, fmt::format("{} {}", name, layer.name)));
    const auto options = at::TensorOptions().dtype(at::kFloat);
    const double bound = 1 / std::sqrt(static_cast<double>(inputs));
    const at::Tensor drawn = draw.init == LoraInit::gaussian ? at::randn(down, generator, options) / static_cast<double>(draw.rank) : (at::rand(down, generator, options) * 2 - 1) * bound;
    factors[layer.name] = {drawn, at::zeros({rows, draw.rank}), draw.alpha / static_cast<double>(draw.rank)};
  }
  for (size_t i = 0; i < targets.size(); ++i) expect(used[i], "Expected the end of a layer's name of the {} in the targets, received '{}'", name, targets[i]);
  return factors;
}

}  // namespace seedbed::train
