#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "nn/lora.h"

namespace seedbed::train {

enum class LoraInit {
  gaussian,  // down ~ N(0, 1 / rank), as diffusers' scripts
  kaiming,   // down ~ U(-1 / sqrt(in), 1 / sqrt(in)), PEFT's default
};

struct LoraDraw {
  int64_t rank = 16;
  double alpha = 16;
  LoraInit init = LoraInit::gaussian;
};

// First factors for the layers of any network whose names end in one of `targets` (".to_q", "q"): down drawn, up 0. A layer's draws follow from
// the seed, the network's name and its own. Throws ERR_INVALID_ARGUMENT for a target that names no layer.
std::map<std::string, nn::LoraFactors> draw_factors(const nn::Module& network, std::string_view name, const std::vector<std::string>& targets, const LoraDraw& draw, uint64_t seed);

}  // namespace seedbed::train
