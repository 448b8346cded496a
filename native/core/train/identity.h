#pragma once

#include <string>

#include "image/augment.h"
#include "train/trainer.h"

// Parts of the text that says which run a checkpoint belongs to.

namespace seedbed::train {

// All that changes the weights a run ends with.
std::string describe(const UpdateOptions& options);
std::string describe(const image::AugmentOptions& options);

// Numbers that differ when any element, shape, name or order does.
uint64_t fingerprint(const at::Tensor& tensor);
uint64_t fingerprint(const NamedTensors& tensors);

}  // namespace seedbed::train
