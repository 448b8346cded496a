#pragma once

#include <functional>
#include <mutex>
#include <string>

#include "nn/module.h"

namespace seedbed::nn {

// A weight in the layout that the processor's matrix code reads fastest. It is made at the first call that needs it, so
// networks that are never called cost nothing; the file's pages are given back then.
class PackedWeight {
 public:
  using Pack = std::function<at::Tensor(const at::Tensor& weight)>;

  // From now on `get` may be used for inference, where there is such a layout: on the CPU, in types that oneDNN takes.
  // Returns whether there is. `name` stands in errors.
  bool enable(const Placement& placement, std::string name);
  bool enabled() const { return enabled_; }
  // Whether a call now goes through packed weights: not while gradients are recorded.
  bool active() const;
  // `pack` of the weight in the type of inference; the same tensor at every call. Throws ERR_NOT_FINITE for NaN.
  at::Tensor get(const at::Tensor& weight, const Pack& pack) const;

 private:
  bool enabled_ = false;
  at::ScalarType dtype_ = at::kFloat;
  std::string name_;
  mutable std::mutex mutex_;
  mutable at::Tensor packed_;
};

// A form of a weight that is being trained: made anew after each change of it, once for all threads.
class TrainedPack {
 public:
  at::Tensor get(const at::Tensor& weight, const PackedWeight::Pack& pack) const;

 private:
  mutable std::mutex mutex_;
  mutable int64_t version_ = -1;
  mutable at::Tensor packed_;
};

// oneDNN's layers with packed weights, reached through libtorch's dispatcher; `residual`, if defined, is added.
at::Tensor pack_linear(const at::Tensor& weight);                                   // [out, in]
at::Tensor packed_linear(const at::Tensor& x, const at::Tensor& packed, const at::Tensor& bias, const at::Tensor& residual);  // [*, in] -> [*, out]

struct ConvShape {
  int64_t stride = 1;
  int64_t padding = 1;
};
at::Tensor pack_convolution(const at::Tensor& weight, const ConvShape& shape, at::IntArrayRef input_size);  // [out, in, k, k]
at::Tensor packed_convolution(const at::Tensor& x, const at::Tensor& packed, const at::Tensor& bias, const ConvShape& shape, const at::Tensor& residual);

}  // namespace seedbed::nn
