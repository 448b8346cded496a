#pragma once

#include <array>
#include <span>
#include <string_view>
#include <vector>

#include "nn/module.h"
#include "nn/packed_weight.h"
#include "nn/trained_linear.h"

namespace seedbed::nn {

class LoraSite;

// y = x W^T + b. The weight is not initialised.
class Linear : public Module {
 public:
  Linear(int64_t in, int64_t out, bool with_bias = true);
  at::Tensor operator()(const at::Tensor& x) const;                             // [*, in] -> [*, out]
  at::Tensor add_to(const at::Tensor& residual, const at::Tensor& x) const;     // residual + y
  void prepare(const Placement& placement, const std::string& name) override;

  // What several layers give for the same x; products of adapters read it once.
  template <size_t N>
  static std::array<at::Tensor, N> together(const std::array<const Linear*, N>& layers, const at::Tensor& x) {
    std::array<at::Tensor, N> out;
    run_together(layers, x, out);
    return out;
  }

  // Rows [first, first + count) of the output, [*, in] -> [*, count].
  at::Tensor rows(const at::Tensor& x, int64_t first, int64_t count) const;

  // Rows of the weight that are a layer of their own elsewhere, for adapters.
  struct Part {
    std::string_view name;
    int64_t first, count;
  };
  virtual std::vector<Part> parts() const { return {}; }

  at::Tensor weight;  // [out, in]
  at::Tensor bias;    // [out], undefined without

 protected:
  // A weight that its file holds in another shape.
  Linear(at::Tensor weight, at::Tensor bias);

 private:
  at::Tensor run(const at::Tensor& x, const at::Tensor& residual) const;
  at::Tensor run_base(const at::Tensor& x, const at::Tensor& residual, const LoraSite* lora) const;  // without low-rank products
  static void run_together(std::span<const Linear* const> layers, const at::Tensor& x, std::span<at::Tensor> out);

  PackedWeight packed_;
  TrainedLinear trained_;
};

// A linear layer over the positions of a feature map. Some checkpoints store it as a 1 x 1 convolution; only the shape of
// the weight differs.
class Projection : public Linear {
 public:
  Projection(int64_t in, int64_t out, bool stored_as_convolution);
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
