#pragma once

#include <set>
#include <string>

#include "nn/classifier_network.h"

namespace seedbed::train {

// What of a classifier stays as it is while the rest is trained.
struct Freeze {
  int64_t stages = 0;     // from the input on, with what comes before the first
  bool backbone = false;  // all but the head
};

// Stages that run as in evaluation.
int64_t frozen_stage_count(const nn::ClassifierNetwork& model, const Freeze& freeze);

// Names of the parameters that are left alone. Throws ERR_INVALID_ARGUMENT for more stages than there are.
std::set<std::string> frozen_parameters(const nn::ClassifierNetwork& model, const Freeze& freeze);

// Of the frozen weights, which a checkpoint of the run does not hold.
std::string freeze_identity(const nn::ClassifierNetwork& model, const Freeze& freeze);

}  // namespace seedbed::train
