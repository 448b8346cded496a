#pragma once

#include <memory>
#include <vector>

#include "nn/conv.h"

namespace seedbed::nn {

// Squeeze to few channels, then expand with 1 x 1 and 3 x 3 filters side by side.
class Fire : public Module {
 public:
  Fire(int64_t in, int64_t squeeze, int64_t expand);
  at::Tensor operator()(const at::Tensor& x) const;  // [B, in, h, w] -> [B, 2 expand, h, w]

 private:
  Conv2d squeeze_, expand1x1_, expand3x3_;
};

struct SqueezeNetOutput {
  at::Tensor features;  // [B, 512] mean over positions of what the last fire module gives
  at::Tensor logits;    // [B, 1000]
};

// SqueezeNet 1.0 (Iandola et al. 2016, arXiv 1602.07360) with torchvision's parameter names. Inference only.
class SqueezeNet : public Module {
 public:
  static constexpr int64_t kSide = 227, kFeatures = 512, kClasses = 1000;

  SqueezeNet();
  SqueezeNetOutput operator()(const at::Tensor& pixels) const;  // [B, 3, 227, 227]

 private:
  // Numbered as torchvision's `features` and `classifier`, where activations and pools take numbers too.
  struct Features : Module {
    Features();
    at::Tensor operator()(const at::Tensor& pixels) const;  // [B, 512, h, w]
    Conv2d first;
    std::vector<std::unique_ptr<Fire>> fires;
  } features_;
  struct Classifier : Module {
    Classifier();
    Conv2d last;
  } classifier_;
};

}  // namespace seedbed::nn
