#include "nn/module.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/ranges.h>

#include <unordered_map>

#include "tensor/check.h"
#include "tensor/error.h"

namespace seedbed::nn {

namespace {

struct Match {
  std::string name;
  at::Tensor parameter, given;
};

bool is_count(const at::Tensor& value) { return !value.is_floating_point(); }

// Pairs each parameter and buffer with the tensor of its name and shape, or lists all that does not fit.
std::vector<Match> match_parameters(const Module& module, const NamedTensors& tensors) {
  const std::unordered_map<std::string, at::Tensor> given(tensors.begin(), tensors.end());
  const NamedTensors wanted = module.named_state();
  std::vector<std::string> missing, unexpected, reshaped;
  std::vector<Match> matches;
  for (const auto& [name, value] : wanted) {
    const auto found = given.find(name);
    if (found == given.end()) {
      if (!is_count(value)) missing.push_back(name);
    } else if (found->second.sizes() != value.sizes())
      reshaped.push_back(fmt::format("{} [{}] for [{}]", name, fmt::join(found->second.sizes(), ", "), fmt::join(value.sizes(), ", ")));
    else
      matches.push_back({name, value, found->second});
  }
  const std::unordered_map<std::string, at::Tensor> known(wanted.begin(), wanted.end());
  for (const auto& [name, value] : tensors)
    if (!known.contains(name)) unexpected.push_back(name);
  if (!missing.empty() || !unexpected.empty() || !reshaped.empty())
    fail(ErrorCode::weights, "The weights do not fit the model{}{}{}", list_names("missing", missing), list_names("unexpected", unexpected),
         list_names("of another shape", reshaped));
  return matches;
}

}  // namespace

NamedTensors Module::named_parameters() const {
  NamedTensors out;
  collect(Kind::parameters, "", out);
  return out;
}

NamedTensors Module::named_buffers() const {
  NamedTensors out;
  collect(Kind::buffers, "", out);
  return out;
}

NamedTensors Module::named_state() const {
  NamedTensors out;
  collect(Kind::both, "", out);
  return out;
}

void Module::collect(Kind kind, const std::string& prefix, NamedTensors& out) const {
  if (kind != Kind::buffers)
    for (const auto& [name, value] : parameters_) out.emplace_back(prefix + name, value);
  if (kind != Kind::parameters)
    for (const auto& [name, value] : buffers_) out.emplace_back(prefix + name, value);
  for (const auto& [name, child] : children_) child->collect(kind, prefix + name + ".", out);
}

std::vector<std::pair<std::string, const Module*>> Module::named_modules() const {
  std::vector<std::pair<std::string, const Module*>> out;
  collect_modules("", out);
  return out;
}

void Module::collect_modules(const std::string& prefix, std::vector<std::pair<std::string, const Module*>>& out) const {
  for (const auto& [name, child] : children_) {
    out.emplace_back(prefix + name, child);
    child->collect_modules(prefix + name + ".", out);
  }
}

std::vector<at::Tensor> Module::parameters() const {
  std::vector<at::Tensor> values;
  for (auto& [name, value] : named_parameters()) values.push_back(value);
  return values;
}

int64_t Module::parameter_count() const {
  int64_t count = 0;
  for (const at::Tensor& value : parameters()) count += value.numel();
  return count;
}

at::Tensor Module::add_parameter(std::string name, at::Tensor value) {
  value.requires_grad_(true);
  parameters_.emplace_back(std::move(name), value);
  return value;
}

at::Tensor Module::add_buffer(std::string name, at::Tensor value) {
  buffers_.emplace_back(std::move(name), value);
  return value;
}

void Module::prepare(const Placement& placement, const std::string& name) {
  for (auto& [own, value] : parameters_) place(value, placement, path(name, own));
  for (auto& [own, value] : buffers_)
    if (!is_count(value)) place(value, placement, path(name, own));
  for (auto& [child, module] : children_) module->prepare(placement, path(name, child));
}

void Module::place(const at::Tensor& parameter, const Placement& placement, const std::string& name, at::MemoryFormat format) {
  check_finite(parameter, name);
  parameter.set_data(parameter.detach().to(placement.device, placement.dtype, /*non_blocking=*/false, /*copy=*/false, format));
}

void Module::add_child(std::string name, Module& child) { children_.emplace_back(std::move(name), &child); }

void load_parameters(const Module& module, const NamedTensors& tensors) {
  const c10::NoGradGuard no_grad;
  for (auto& [name, parameter, given] : match_parameters(module, tensors)) {
    check_finite(given, name);
    parameter.copy_(given.detach());
  }
}

void adopt_parameters(const Module& module, const NamedTensors& tensors) {
  for (auto& [name, parameter, given] : match_parameters(module, tensors)) {
    if (at::isFloatingType(given.scalar_type()) == is_count(parameter)) fail(ErrorCode::dtype, "Expected {} in {}, received {}", is_count(parameter) ? "whole numbers" : "floating point numbers", name, c10::toString(given.scalar_type()));
    parameter.requires_grad_(false);
    parameter.set_data(given.detach());
  }
}

}  // namespace seedbed::nn
