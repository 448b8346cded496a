#pragma once

#include <string>

#include "train/trainer.h"

namespace seedbed::train {

// Identity of options and data, weights (and buffers), moments and progress.
void write_checkpoint(const std::string& path, const std::string& identity, const NamedTensors& weights, const Optimizer& optimizer, const Progress& progress);

// Restores weights, in place, and optimiser and returns the progress. Throws ERR_INVALID_ARGUMENT when the checkpoint belongs to a
// run with other options or data.
Progress read_checkpoint(const std::string& path, const std::string& identity, const NamedTensors& weights, Optimizer& optimizer);

}  // namespace seedbed::train
