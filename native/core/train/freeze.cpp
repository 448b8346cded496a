#include "train/freeze.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "tensor/check.h"
#include "tensor/rng.h"

namespace seedbed::train {

int64_t frozen_stage_count(const nn::ClassifierNetwork& model, const Freeze& freeze) { return freeze.backbone ? static_cast<int64_t>(model.stages().size()) : freeze.stages; }

std::set<std::string> frozen_parameters(const nn::ClassifierNetwork& model, const Freeze& freeze) {
  const std::vector<std::string> stages = model.stages();
  check_range(freeze.stages, "freeze", 0, static_cast<int64_t>(stages.size()));
  const NamedTensors parameters = model.named_parameters();
  size_t frozen = 0;  // parameters are in the order of computation
  for (size_t i = 0; i < parameters.size(); ++i) {
    const std::string& name = parameters[i].first;
    const bool in_last_stage = freeze.stages > 0 && name.starts_with(stages[freeze.stages - 1] + ".");
    if (in_last_stage || (freeze.backbone && !model.is_head(name))) frozen = i + 1;
  }
  std::set<std::string> names;
  for (size_t i = 0; i < frozen; ++i) names.insert(parameters[i].first);
  return names;
}

std::string freeze_identity(const nn::ClassifierNetwork& model, const Freeze& freeze) {
  const std::set<std::string> frozen = frozen_parameters(model, freeze);
  if (frozen.empty()) return "";
  uint64_t digest = 0;
  for (const auto& [name, value] : model.named_parameters())
    if (frozen.contains(name)) digest = derive_seed(digest, std::string_view(static_cast<const char*>(value.const_data_ptr()), value.nbytes()));
  return fmt::format(" | freeze {} {} {:x}", freeze.stages, freeze.backbone, digest);
}

}  // namespace seedbed::train
