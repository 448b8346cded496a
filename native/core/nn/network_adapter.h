#pragma once

#include <map>
#include <string>

#include "nn/lora.h"

namespace seedbed::nn {

enum class AdapterUse { inference, training };

// Factors for layers of one network, whatever it is: CLIP's towers, the vision transformer.
class NetworkAdapter {
 public:
  // Copies of the factors, float32, by the names that `lora_layers` gives. For training they are leaves; for inference they are packed.
  // Throws ERR_WEIGHTS for factors that fit no layer, ERR_NOT_FINITE, ERR_INVALID_ARGUMENT for none.
  NetworkAdapter(const Module& network, const std::map<std::string, LoraFactors>& factors, AdapterUse use);

  const ActiveLoras& active() const { return active_; }
  const std::map<std::string, LoraFactors>& factors() const { return factors_; }
  NamedTensors parameters() const;  // "<layer>.down", "<layer>.up"
  int64_t parameter_count() const;

 private:
  std::map<std::string, LoraFactors> factors_;
  ActiveLoras active_;
};

// A network's parameters and buffers with an adapter in them.
NamedTensors merged_state(const Module& network, const NetworkAdapter& adapter);

}  // namespace seedbed::nn
