#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tensor/safetensors.h"

namespace seedbed::nn {

// Where a network computes, and in which element type.
struct Placement {
  at::Device device = at::kCPU;
  at::ScalarType dtype = at::kFloat;
};

// Owns parameters and buffers and knows its children, so that names equal the reference's state-dict keys. Smaller than
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
  // What training changes but no gradient reaches, running statistics and counts, in the same way.
  NamedTensors named_buffers() const;
  // Parameters and buffers together, as a state dict lists them.
  NamedTensors named_state() const;
  int64_t parameter_count() const;
  // All modules below this one with their names, in order of registration.
  std::vector<std::pair<std::string, const Module*>> named_modules() const;

  // Makes the module ready for inference: parameters are checked for NaN, converted and moved. Layers that multiply on the
  // CPU keep their weight as it lies in the file, and pack it at the first call. `name` stands in errors.
  virtual void prepare(const Placement& placement, const std::string& name = "");

 protected:
  // Both return their argument, for use in member initialisers.
  at::Tensor add_parameter(std::string name, at::Tensor value);
  at::Tensor add_buffer(std::string name, at::Tensor value);
  void add_child(std::string name, Module& child);
  // What `prepare` does to one parameter.
  static void place(const at::Tensor& parameter, const Placement& placement, const std::string& name, at::MemoryFormat format = at::MemoryFormat::Preserve);
  static std::string path(const std::string& parent, const std::string& name) { return parent.empty() ? name : parent + "." + name; }

 private:
  enum class Kind { parameters, buffers, both };
  void collect(Kind kind, const std::string& prefix, NamedTensors& out) const;
  void collect_modules(const std::string& prefix, std::vector<std::pair<std::string, const Module*>>& out) const;

  NamedTensors parameters_, buffers_;
  std::vector<std::pair<std::string, Module*>> children_;
};

// Copies tensors into the parameters and buffers of the same name, converting the element type. Strict both ways: throws
// ERR_WEIGHTS that lists names that are missing, unexpected or of another shape, and ERR_NOT_FINITE for NaN. Only counts may be
// missing, as in files from before PyTorch kept them.
void load_parameters(const Module& module, const NamedTensors& tensors);

// Puts tensors in place of the parameters and buffers of the same name, as frozen ones and without a copy: a memory-mapped file stays
// mapped. Strict as `load_parameters`; NaN is found by `prepare`.
void adopt_parameters(const Module& module, const NamedTensors& tensors);

}  // namespace seedbed::nn
