#include "classifier_options.h"

#include "names.h"

namespace seedbed::binding {

namespace {

using nn::ResnetBlock, nn::ResnetConfig, nn::ResnetStem, nn::VitConfig;

enum class Family { vit, resnet };

constexpr Names<Family, 2> kFamily{{{"vit", Family::vit}, {"resnet", Family::resnet}}};
constexpr Names<ResnetBlock, 2> kBlock{{{"basic", ResnetBlock::basic}, {"bottleneck", ResnetBlock::bottleneck}}};
constexpr Names<ResnetStem, 2> kStem{{{"large", ResnetStem::large}, {"small", ResnetStem::small}}};

nn::ClassifierConfig defaults(const Fields& fields) {
  std::string name;
  if (fields.read("name", name); !name.empty()) return nn::classifier_config(name);
  Family family = Family::vit;
  fields.read("type", names(kFamily), family);
  switch (family) {
    case Family::vit: return VitConfig{};
    case Family::resnet: return ResnetConfig{};
  }
  fail(ErrorCode::internal, "unknown kind of classifier");
}

struct Parse {
  const Fields& fields;

  void operator()(VitConfig& c) const {
    fields.read("image_size", c.image_size).read("patch_size", c.patch_size).read("width", c.width).read("depth", c.depth).read("heads", c.heads);
    fields.read("mlp_ratio", c.mlp_ratio).read("classes", c.classes).read("drop_path", c.drop_path);
  }

  void operator()(ResnetConfig& c) const {
    fields.read("image_size", c.image_size).read("block", names(kBlock), c.block).read("layers", c.layers).read("width", c.width);
    fields.read("stem", names(kStem), c.stem).read("classes", c.classes).read("drop_path", c.drop_path);
  }
};

struct EmitConfig {
  Napi::Env env;

  Napi::Object operator()(const VitConfig& c) const {
    return emit_object(env, {{"type", name_of(kFamily, Family::vit)}, {"imageSize", c.image_size}, {"patchSize", c.patch_size}, {"width", c.width}, {"depth", c.depth},
                             {"heads", c.heads}, {"mlpRatio", c.mlp_ratio}, {"classes", c.classes}, {"dropPath", c.drop_path}});
  }

  Napi::Object operator()(const ResnetConfig& c) const {
    const auto layers = emit_list(env, c.layers, [this](int64_t blocks) { return Napi::Number::New(env, static_cast<double>(blocks)); });
    return emit_object(env, {{"type", name_of(kFamily, Family::resnet)}, {"imageSize", c.image_size}, {"block", name_of(kBlock, c.block)}, {"layers", layers}, {"width", c.width},
                             {"stem", name_of(kStem, c.stem)}, {"classes", c.classes}, {"dropPath", c.drop_path}});
  }
};

}  // namespace

nn::ClassifierConfig parse_classifier_config(const Fields& fields) {
  nn::ClassifierConfig config = defaults(fields);
  std::visit(Parse{fields}, config);
  return config;
}

Napi::Object emit_classifier_config(Napi::Env env, const nn::ClassifierConfig& config) { return std::visit(EmitConfig{env}, config); }

void add_classifier_enum_names(Napi::Env env, Napi::Object enums) {
  enums.Set("classifier", emit_names(env, kFamily));
  enums.Set("resnetBlock", emit_names(env, kBlock));
  enums.Set("resnetStem", emit_names(env, kStem));
}

}  // namespace seedbed::binding
