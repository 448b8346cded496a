#pragma once

#include <optional>
#include <string>

#include "train/loop.h"
#include "train/optimizer.h"

namespace seedbed::train {

// All that a run needs to go on: weights, moments, history, best weights so far, and an identity of options and data.
struct Progress {
  TrainResult result;
  NamedTensors best_weights;  // empty unless the best are kept
};

void write_checkpoint(const std::string& path, const std::string& identity, const NamedTensors& weights, const Optimizer& optimizer, const Progress& progress);

// Restores weights, in place, and optimiser and returns the progress. Throws ERR_INVALID_ARGUMENT when the checkpoint belongs to a
// run with other options or data.
Progress read_checkpoint(const std::string& path, const std::string& identity, const NamedTensors& weights, Optimizer& optimizer);

}  // namespace seedbed::train
