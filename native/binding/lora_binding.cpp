#include "lora_binding.h"

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>

#include "diffusion_handle.h"
#include "environment.h"
#include "handle.h"
#include "lora_options.h"
#include "options.h"
#include "train_events.h"
#include "values.h"
#include "tensor/scratch.h"

namespace seedbed::binding {

namespace {

// What calls see that were begun together.
struct ActiveLoras {
  static constexpr const char* kTypeName = "set of active LoRAs";
  static constexpr napi_type_tag kTypeTag{0x51f7a3c80e2d4b96, 0xb84c19e6d0735af2};

  std::shared_ptr<const nn::ActiveLoras> active;
};

// Events of a training run, and its cancellation, also between the blocks of the networks.
train::LoraCallbacks report_to(JobContext& context, int64_t steps) {
  train::LoraCallbacks callbacks;
  callbacks.poll = [&context] { context.throw_if_cancelled(); };
  callbacks.train.on_step = [&context, steps](const train::StepReport& report) { context.progress(step_event(report, steps)); };
  callbacks.train.on_checkpoint = [&context](int64_t step) { context.progress(checkpoint_event(step)); };
  callbacks.on_sample = [&context, steps](int64_t step, const std::vector<image::Image>& images) {
    context.progress([=](Napi::Env env) {
      return emit_object(env, {{"type", std::string("sample")}, {"step", step}, {"steps", steps}, {"images", emit_list(env, images, [env](const image::Image& image) { return emit_image(env, image); })}});
    });
  };
  callbacks.on_encode = [&context](int64_t done, int64_t total) { context.progress(encode_event(done, total)); };
  return callbacks;
}

Napi::Value emit_info(Napi::Env env, const diffusion::LoraInfo& info) {
  return emit_object(env, {{"name", info.name},
                           {"scale", info.scale},
                           {"merged", info.merged},
                           {"unetLayers", info.unet_layers},
                           {"textEncoderLayers", info.text_encoder_layers},
                           {"parameters", info.parameters},
                           {"tokens", emit_list(env, info.tokens, [env](const std::string& token) { return Napi::String::New(env, token); })}});
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
  Handle<Diffusion>::get(info[0])->loras.add(name, {.unet = parse_lora_factors(fields, "unet"), .text_encoder = parse_lora_factors(fields, "text_encoder"), .embeddings = parse_embeddings(fields)}, scale);
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

Napi::Value lora_placeholders(const Napi::CallbackInfo& info) {
  const auto object = Handle<ActiveLoras>::get(info[0]);
  return emit_list(info.Env(), object->active->placeholders(), [&](const nn::Placeholder& p) {
    return emit_object(info.Env(), {{"token", p.token}, {"firstId", p.first_id}, {"vectors", p.vectors}});
  });
}

Napi::Value train_lora(const Napi::CallbackInfo& info) {
  const auto object = Handle<Diffusion>::get(info[0]);
  const Fields fields(info[1], "options");
  const auto options = std::make_shared<const train::LoraTrainOptions>(parse_lora_train_options(fields));
  const auto examples = std::make_shared<const std::vector<train::LoraExample>>(parse_lora_examples(fields));
  const int threads = parse_threads(fields);
  return Environment::of(info.Env()).jobs.start(info.Env(), Lane::training, parse_listener(info[2]), [=, model = object->model](JobContext& context) -> Emit {
    at::set_num_threads(threads);
    const int workers = static_cast<int>(std::clamp<int64_t>(std::min(options->shards, options->batch_size), 1, threads));
    WorkerPool pool(workers, threads / workers);
    const auto result = std::make_shared<train::LoraResult>(train::train_lora(*model, *examples, *options, pool, report_to(context, options->updates.steps)));
    return [result](Napi::Env env) {
      return emit_object(env, {{"steps", result->train.steps},
                               {"samples", result->train.samples},
                               {"losses", emit_losses(env, result->train)},
                               {"unet", emit_lora_factors(env, result->weights.unet)},
                               {"textEncoder", emit_lora_factors(env, result->weights.text_encoder)}});
    };
  });
}

Napi::Value lora_layers(const Napi::CallbackInfo& info) {
  const auto object = Handle<Diffusion>::get(info[0]);
  const auto layers = [&](const nn::Module& network) {
    return emit_list(info.Env(), nn::lora_layers(network), [&](const nn::LoraLayer& layer) {
      return emit_object(info.Env(), {{"name", layer.name}, {"shape", emit_list(info.Env(), layer.weight.sizes(), [&](int64_t n) { return Napi::Number::New(info.Env(), static_cast<double>(n)); })}});
    });
  };
  return emit_object(info.Env(), {{"unet", layers(object->model->unet)}, {"textEncoder", layers(object->model->text_encoder)}});
}

bool dispose_active_loras(const Napi::Value& value) { return Handle<ActiveLoras>::dispose(value); }

}  // namespace seedbed::binding
