#pragma once

#include "nn/module.h"

namespace seedbed::nn {

// y = x W^T + b.
class Linear : public Module {
 public:
  Linear(int64_t in, int64_t out);
  at::Tensor operator()(const at::Tensor& x) const;  // [*, in] -> [*, out]

  at::Tensor weight;  // [out, in]
  at::Tensor bias;    // [out]
};

class LayerNorm : public Module {
 public:
  LayerNorm(int64_t width, double eps);
  at::Tensor operator()(const at::Tensor& x) const;  // [*, width]

  at::Tensor weight;  // [width]
  at::Tensor bias;    // [width]

 private:
  double eps_;
};

}  // namespace seedbed::nn
