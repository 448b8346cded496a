#include "diffusion_binding.h"

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include "diffusion_options.h"
#include "environment.h"
#include "handle.h"
#include "options.h"
#include "tensor/dtype.h"
#include "values.h"

namespace seedbed::binding {

namespace {

struct Diffusion {
  static constexpr const char* kTypeName = "diffusion model";
  static constexpr napi_type_tag kTypeTag{0x8c1d64f0b97e4a25, 0xa3e05b72c84d1f69};

  explicit Diffusion(std::shared_ptr<const diffusion::Model> model) : model(std::move(model)) {}

  std::shared_ptr<const diffusion::Model> model;
};

using Call = std::function<Emit(const diffusion::Model&, const nn::Poll& poll)>;

// Runs `call` on a model's lane, without gradients, with the threads of the options.
Napi::Value start(const Napi::CallbackInfo& info, const Fields& fields, Call call) {
  const auto model = Handle<Diffusion>::get(info[0])->model;
  const int threads = parse_threads(fields);
  return Environment::of(info.Env()).jobs.start(info.Env(), Lane::compute, parse_listener(info[2]), [=](JobContext& context) -> Emit {
    const c10::InferenceMode inference;
    at::set_num_threads(threads);
    return call(*model, [&context] { context.throw_if_cancelled(); });
  });
}

Emit emitting(const at::Tensor& tensor) {
  return [tensor](Napi::Env env) { return emit_tensor(env, tensor); };
}

// The outputs of one of CLIP's towers; float32 outside, whatever it computes in.
template <typename Encoding>
Emit emit_encoding(const Encoding& encoding) {
  const auto outside = [](const at::Tensor& x) { return x.defined() ? x.to(at::kFloat).contiguous() : x; };
  return [states = outside(encoding.states), pooled = outside(encoding.pooled), projected = outside(encoding.projected)](Napi::Env env) {
    Napi::Object out = emit_object(env, {{"states", emit_tensor(env, states)}, {"pooled", emit_tensor(env, pooled)}});
    if (projected.defined()) out.Set("projected", emit_tensor(env, projected));
    return out;
  };
}

}  // namespace

Napi::Value load_diffusion(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  const diffusion::ModelFiles files = parse_model_files(fields);
  const int threads = parse_threads(fields);
  return Environment::of(info.Env()).jobs.start(info.Env(), Lane::compute, parse_listener(info[1]), [=](JobContext& context) -> Emit {
    at::set_num_threads(threads);
    const auto model = diffusion::load_model(files, [&context](int64_t done, int64_t parts, std::string_view name) {
      context.throw_if_cancelled();
      context.progress([=, name = std::string(name)](Napi::Env env) {
        return emit_object(env, {{"type", std::string("load")}, {"part", name}, {"done", done}, {"total", parts}});
      });
    });
    return [model](Napi::Env env) { return Handle<Diffusion>::make(env, std::make_shared<Diffusion>(model), model->bytes()); };
  });
}

Napi::Value diffusion_info(const Napi::CallbackInfo& info) {
  const auto& model = *Handle<Diffusion>::get(info[0])->model;
  return emit_object(info.Env(), {{"parameters", model.parameter_count()},
                                  {"bytes", model.bytes()},
                                  {"dtype", std::string(dtype_to_name(model.dtype))},
                                  {"unetParameters", model.unet.parameter_count()},
                                  {"vaeParameters", model.vae.parameter_count()},
                                  {"textEncoderParameters", model.text_encoder.parameter_count()}});
}

Napi::Value diffusion_weights(const Napi::CallbackInfo& info) {
  const auto& model = *Handle<Diffusion>::get(info[0])->model;
  const std::string part = info[1].ToString();
  const nn::Module* network = part == "unet" ? static_cast<const nn::Module*>(&model.unet)
                              : part == "vae" ? static_cast<const nn::Module*>(&model.vae)
                              : part == "textEncoder" ? static_cast<const nn::Module*>(&model.text_encoder)
                              : part == "imageEncoder" ? model.image_encoder.get()
                                                       : nullptr;
  expect(network != nullptr, "Expected unet, vae, textEncoder or an existing imageEncoder, received '{}'", part);
  return emit_named_tensors(info.Env(), network->named_parameters());
}

Napi::Value encode_text(const Napi::CallbackInfo& info) {
  const Fields fields(info[1], "options");
  const at::Tensor ids = parse_tensor(fields.required("ids"), "ids");  // [B, L]
  int64_t skipped = 0;
  fields.read("skipped_layers", skipped);
  return start(info, fields, [=](const diffusion::Model& model, const nn::Poll&) -> Emit {
    return emit_encoding(model.text_encoder(ids, skipped));
  });
}

Napi::Value encode_vision(const Napi::CallbackInfo& info) {
  const Fields fields(info[1], "options");
  const at::Tensor pixels = parse_tensor(fields.required("pixels"), "pixels");  // [B, 3, size, size]
  return start(info, fields, [=](const diffusion::Model& model, const nn::Poll&) -> Emit {
    expect(model.image_encoder != nullptr, "Expected a model with an image encoder, this one has none");
    return emit_encoding((*model.image_encoder)(pixels));
  });
}

Napi::Value predict_noise(const Napi::CallbackInfo& info) {
  const Fields fields(info[1], "options");
  const at::Tensor latents = parse_tensor(fields.required("latents"), "latents"), context = parse_tensor(fields.required("context"), "context");
  const at::Tensor timestep = parse_tensor(fields.required("timestep"), "timestep");  // [1] or [B]
  const std::optional<nn::FreeU> free_u = parse_free_u(fields);
  return start(info, fields, [=](const diffusion::Model& model, const nn::Poll& poll) -> Emit {
    expect(latents.dim() == 4, "Expected latents of 4 dimensions, received {}", latents.dim());
    return emitting(model.unet(latents, timestep.expand({latents.size(0)}), context, {.free_u = free_u, .poll = poll}));
  });
}

Napi::Value encode_pixels(const Napi::CallbackInfo& info) {
  const Fields fields(info[1], "options");
  const at::Tensor pixels = parse_tensor(fields.required("pixels"), "pixels");  // [B, 3, H, W] in [-1, 1]
  return start(info, fields, [=](const diffusion::Model& model, const nn::Poll& poll) -> Emit {
    const auto [mean, log_variance] = model.vae.encode(pixels, poll);
    return [mean, log_variance](Napi::Env env) { return emit_object(env, {{"mean", emit_tensor(env, mean)}, {"logVariance", emit_tensor(env, log_variance)}}); };
  });
}

Napi::Value decode_latents(const Napi::CallbackInfo& info) {
  const Fields fields(info[1], "options");
  const at::Tensor latents = parse_tensor(fields.required("latents"), "latents");
  bool tiled = false;
  fields.read("tiled", tiled);
  return start(info, fields, [=](const diffusion::Model& model, const nn::Poll& poll) -> Emit {
    return emitting(diffusion::decode_latents(model, latents, tiled, poll));
  });
}

bool dispose_diffusion(const Napi::Value& value) { return Handle<Diffusion>::dispose(value); }

}  // namespace seedbed::binding
