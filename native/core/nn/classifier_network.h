#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "nn/forward.h"
#include "nn/module.h"

namespace seedbed::nn {

// A network that gives pictures class scores: all that training, evaluation and files know of one.
class ClassifierNetwork : public Module {
 public:
  virtual int64_t image_size() const = 0;     // pixels, both sides
  virtual int64_t classes() const = 0;        // K
  virtual std::string_view head() const = 0;  // name of the last layer
  // Names of the modules that may be frozen one by one, in the order of computation; what is registered before the first belongs to it.
  virtual std::vector<std::string> stages() const = 0;
  // Sizes in one line: what must be equal for weights and checkpoints to fit.
  virtual std::string identity() const = 0;

  // The reference's default initialisation.
  virtual void initialise(at::Generator& generator) = 0;

  virtual at::Tensor forward_features(const at::Tensor& pixels, const Forward& forward = {}) const = 0;  // [B, C, H, W] -> [B, D]
  virtual at::Tensor operator()(const at::Tensor& pixels, const Forward& forward = {}) const = 0;        // [B, C, H, W] -> [B, K]

  bool is_head(std::string_view parameter) const { return parameter.starts_with(std::string(head()) + "."); }
};

}  // namespace seedbed::nn
