#include "lora_binding.h"

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include "diffusion_handle.h"
#include "environment.h"
#include "handle.h"
#include "options.h"
#include "tensor/scratch.h"
#include "values.h"

namespace seedbed::binding {

namespace {

// What calls see that were begun together.
struct ActiveLoras {
  static constexpr const char* kTypeName = "set of active LoRAs";
  static constexpr napi_type_tag kTypeTag{0x51f7a3c80e2d4b96, 0xb84c19e6d0735af2};

  std::shared_ptr<const nn::ActiveLoras> active;
};

// { layer: { down, up, scale } }
std::map<std::string, nn::LoraFactors> parse_factors(const Fields& fields, std::string_view part) {
  std::map<std::string, nn::LoraFactors> factors;
  const auto layers = fields.optional(part);
  if (!layers) return factors;
  const Napi::Object object = layers->As<Napi::Object>();
  for (const auto& [key, value] : object) {
    const std::string name = key.ToString();
    const Fields layer(Napi::Value(value), name);
    nn::LoraFactors& f = factors[name];
    f.down = parse_tensor(layer.required("down"), layer.path_of("down"));
    f.up = parse_tensor(layer.required("up"), layer.path_of("up"));
    layer.read("scale", f.scale);
  }
  return factors;
}

Napi::Value emit_info(Napi::Env env, const diffusion::LoraInfo& info) {
  return emit_object(env, {{"name", info.name},
                           {"scale", info.scale},
                           {"merged", info.merged},
                           {"unetLayers", info.unet_layers},
                           {"textEncoderLayers", info.text_encoder_layers},
                           {"parameters", info.parameters}});
}

}  // namespace

Napi::Value start_on_model(const Napi::CallbackInfo& info, const Fields& fields, DiffusionCall call) {
  const auto object = Handle<Diffusion>::get(info[0]);
  const int threads = parse_threads(fields);
  const auto chosen = fields.optional("loras");
  const auto active = chosen ? Handle<ActiveLoras>::get(*chosen)->active : object->loras.active();
  return Environment::of(info.Env()).jobs.start(info.Env(), Lane::compute, parse_listener(info[2]), [=, model = object->model](JobContext& context) -> Emit {
    const c10::InferenceMode inference;
    const ScratchScope scratch;
    const nn::LoraScope loras(active.get());
    at::set_num_threads(threads);
    return call(*model, context, [&context] { context.throw_if_cancelled(); });
  });
}

Napi::Value add_lora(const Napi::CallbackInfo& info) {
  const Fields fields(info[1], "options");
  std::string name;
  double scale = 1;
  fields.read("name", name).read("scale", scale);
  Handle<Diffusion>::get(info[0])->loras.add(name, {.unet = parse_factors(fields, "unet"), .text_encoder = parse_factors(fields, "text_encoder")}, scale);
  return info.Env().Undefined();
}

Napi::Value change_lora(const Napi::CallbackInfo& info) {
  const Fields fields(info[1], "options");
  diffusion::Loras& loras = Handle<Diffusion>::get(info[0])->loras;
  std::string name;
  fields.read("name", name);
  if (fields.optional("scale")) {
    double scale = 1;
    fields.read("scale", scale);
    loras.set_scale(name, scale);
  }
  if (fields.optional("merged")) {
    bool merged = false;
    fields.read("merged", merged);
    loras.set_merged(name, merged);
  }
  return info.Env().Undefined();
}

Napi::Value remove_lora(const Napi::CallbackInfo& info) {
  Handle<Diffusion>::get(info[0])->loras.remove(info[1].ToString());
  return info.Env().Undefined();
}

Napi::Value list_loras(const Napi::CallbackInfo& info) {
  return emit_list(info.Env(), Handle<Diffusion>::get(info[0])->loras.list(), [&](const diffusion::LoraInfo& lora) { return emit_info(info.Env(), lora); });
}

Napi::Value active_loras(const Napi::CallbackInfo& info) {
  std::map<std::string, double> scales;
  const Fields fields(info[1], "options");
  for (const Fields& one : fields.objects("scales")) {
    std::string name;
    double scale = 1;
    one.read("name", name).read("scale", scale);
    scales[name] = scale;
  }
  return Handle<ActiveLoras>::make(info.Env(), std::make_shared<ActiveLoras>(Handle<Diffusion>::get(info[0])->loras.active(scales)), 0);
}

bool dispose_active_loras(const Napi::Value& value) { return Handle<ActiveLoras>::dispose(value); }

}  // namespace seedbed::binding
