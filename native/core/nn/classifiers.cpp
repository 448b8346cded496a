#include "nn/classifiers.h"

#include <fmt/ranges.h>

#include <array>

#include "tensor/error.h"

namespace seedbed::nn {

namespace {

VitConfig vit(int64_t image, int64_t patch, int64_t width, int64_t depth, int64_t heads) {
  return {.image_size = image, .patch_size = patch, .width = width, .depth = depth, .heads = heads};
}

ResnetConfig small_resnet(int64_t width) { return {.image_size = 32, .width = width, .stem = ResnetStem::small}; }

struct NamedConfig {
  std::string_view name;
  ClassifierConfig config;
};

const auto& configs() {
  static const std::array<NamedConfig, 12> table{{
      {"vit_base_patch16_224", vit(224, 16, 768, 12, 12)},
      {"vit_small_patch16_224", vit(224, 16, 384, 12, 6)},
      {"vit_tiny_patch16_224", vit(224, 16, 192, 12, 3)},
      {"vit_tiny_patch8_64", vit(64, 8, 192, 12, 3)},
      {"vit_mini_patch8_64", vit(64, 8, 192, 6, 3)},
      {"vit_mini_patch4_32", vit(32, 4, 192, 6, 3)},
      {"vit_nano_patch4_32", vit(32, 4, 128, 6, 2)},
      {"vit_micro_patch4_32", vit(32, 4, 96, 4, 3)},
      {"resnet50", ResnetConfig{.block = ResnetBlock::bottleneck, .layers = {3, 4, 6, 3}}},
      {"resnet18", ResnetConfig{}},
      {"resnet18_32", small_resnet(64)},
      {"resnet_nano_32", small_resnet(16)},
  }};
  return table;
}

struct Make {
  std::unique_ptr<ClassifierNetwork> operator()(const VitConfig& config) const { return std::make_unique<VisionTransformer>(config); }
  std::unique_ptr<ClassifierNetwork> operator()(const ResnetConfig& config) const { return std::make_unique<Resnet>(config); }
};

}  // namespace

std::unique_ptr<ClassifierNetwork> make_classifier(const ClassifierConfig& config) { return std::visit(Make{}, config); }

ClassifierConfig classifier_config(std::string_view name) {
  for (const NamedConfig& row : configs())
    if (row.name == name) return row.config;
  fail(ErrorCode::invalid_argument, "Expected model to be one of {}, received '{}'", fmt::join(classifier_names(), ", "), name);
}

std::vector<std::string> classifier_names() {
  std::vector<std::string> names;
  for (const NamedConfig& row : configs()) names.emplace_back(row.name);
  return names;
}

}  // namespace seedbed::nn
