#pragma once

#include <cstdint>

#include "nn/module.h"

namespace seedbed::train {

// First weights of a network as PyTorch's layers draw them: convolutions and linear layers, with their biases, uniform in -+1 / sqrt(fan in);
// norms one and zero. A layer's draws follow from the seed and its name. Other parameters (embeddings) stay as they are.
void initialise_layers(const nn::Module& network, uint64_t seed);

}  // namespace seedbed::train
