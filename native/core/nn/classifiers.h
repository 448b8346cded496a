#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "nn/resnet.h"
#include "nn/vit.h"

namespace seedbed::nn {

// The kinds of classifier and their sizes.
using ClassifierConfig = std::variant<VitConfig, ResnetConfig>;

// A network of these sizes with weights that are not drawn yet. Throws ERR_INVALID_ARGUMENT.
std::unique_ptr<ClassifierNetwork> make_classifier(const ClassifierConfig& config);

// Configurations by name: timm's `vit_tiny_patch16_224`, `resnet18` and the like, and smaller ones for small pictures.
// Throws ERR_INVALID_ARGUMENT that lists the known names.
ClassifierConfig classifier_config(std::string_view name);
std::vector<std::string> classifier_names();

}  // namespace seedbed::nn
