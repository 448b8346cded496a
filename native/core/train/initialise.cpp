#include "train/initialise.h"

#include <ATen/ATen.h>

#include "nn/conv.h"
#include "nn/init.h"
#include "nn/linear.h"
#include "tensor/rng.h"

namespace seedbed::train {

namespace {

void draw(const at::Tensor& weight, const at::Tensor& bias, uint64_t seed) {
  const int64_t fan_in = weight[0].numel();
  at::Generator generator = make_generator(seed);
  nn::fan_in_uniform_(weight, fan_in, generator);
  if (bias.defined()) nn::fan_in_uniform_(bias, fan_in, generator);
}

}  // namespace

void initialise_layers(const nn::Module& network, uint64_t seed) {
  for (const auto& [name, module] : network.named_modules()) {
    const uint64_t own = derive_seed(seed, "initial " + name);
    if (const auto* conv = dynamic_cast<const nn::Conv2d*>(module)) draw(conv->weight, conv->bias, own);
    else if (const auto* linear = dynamic_cast<const nn::Linear*>(module)) draw(linear->weight, linear->bias, own);
  }
}

}  // namespace seedbed::train
