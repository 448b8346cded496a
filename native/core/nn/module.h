#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tensor/safetensors.h"

namespace seedbed::nn {

// Owns parameters and knows its children, so that names equal the reference's state-dict keys. Smaller than
// torch::nn::Module on purpose: nothing in it changes during a forward pass, so threads can share one model.
class Module {
 public:
  Module() = default;
  virtual ~Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  // All parameters below this module, "blocks.0.attn.qkv.weight", in order of registration. Tensors share storage.
  NamedTensors named_parameters() const;
  std::vector<at::Tensor> parameters() const;
  int64_t parameter_count() const;

 protected:
  // Both return their argument, for use in member initialisers.
  at::Tensor add_parameter(std::string name, at::Tensor value);
  void add_child(std::string name, const Module& child);

 private:
  void collect(const std::string& prefix, NamedTensors& out) const;

  NamedTensors parameters_;
  std::vector<std::pair<std::string, const Module*>> children_;
};

// Copies tensors into the parameters of the same name, converting the element type. Strict both ways: throws
// ERR_WEIGHTS that lists names that are missing, unexpected or of another shape, and ERR_NOT_FINITE for NaN.
void load_parameters(const Module& module, const NamedTensors& tensors);

// Puts tensors in place of the parameters of the same name, as frozen ones, without a copy where the element type is
// `dtype` already (a memory-mapped file stays mapped). Strict as `load_parameters`.
void adopt_parameters(const Module& module, const NamedTensors& tensors, at::ScalarType dtype);

// What a forward pass needs to know beside its input.
struct Forward {
  bool training = false;      // applies dropout-like layers
  at::Generator* generator = nullptr;  // their draws; needed when training
};

}  // namespace seedbed::nn
