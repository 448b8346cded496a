#include "diffusion_binding.h"

#include <ATen/Parallel.h>

#include "diffusion_handle.h"
#include "diffusion_options.h"
#include "environment.h"
#include "handle.h"
#include "options.h"
#include "sampler_options.h"
#include "tensor/dtype.h"
#include "values.h"

namespace seedbed::binding {

namespace {

Napi::Value emit_images(Napi::Env env, const std::vector<image::Image>& images) {
  return emit_list(env, images, [env](const image::Image& image) { return emit_image(env, image); });
}

Napi::Value emit_attention(Napi::Env env, const std::vector<nn::AttentionRecord>& records) {
  return emit_list(env, records, [env](const nn::AttentionRecord& record) {
    const auto timesteps = emit_list(env, record.timesteps, [env](double timestep) { return Napi::Number::New(env, timestep); });
    return emit_object(env, {{"layer", record.layer}, {"height", record.height}, {"width", record.width}, {"timesteps", timesteps}, {"probabilities", emit_tensor(env, record.probabilities)}});
  });
}

diffusion::OnInvert report_steps(JobContext& context) {
  return [&context](int64_t done, int64_t total) {
    context.progress([=](Napi::Env env) { return emit_object(env, {{"type", std::string("step")}, {"step", done}, {"steps", total}}); });
  };
}

Emit emitting(const at::Tensor& tensor) {
  return [tensor](Napi::Env env) { return emit_tensor(env, tensor); };
}

// The outputs of one of CLIP's towers; float32 on the CPU outside, whatever and wherever it computes.
template <typename Encoding>
Emit emit_encoding(const Encoding& encoding) {
  const auto outside = [](const at::Tensor& x) { return x.defined() ? x.to(at::kCPU, at::kFloat).contiguous() : x; };
  return [states = outside(encoding.states), pooled = outside(encoding.pooled), projected = outside(encoding.projected)](Napi::Env env) {
    Napi::Object out = emit_object(env, {{"states", emit_tensor(env, states)}, {"pooled", emit_tensor(env, pooled)}});
    if (projected.defined()) out.Set("projected", emit_tensor(env, projected));
    return out;
  };
}

const nn::Module& part_of(const diffusion::Model& model, const std::string& name) {
  if (name == "unet") return model.unet;
  if (name == "vae") return model.vae;
  if (name == "textEncoder") return model.text_encoder;
  expect(name == "imageEncoder" && model.image_encoder, "Expected unet, vae, textEncoder or an existing imageEncoder, received '{}'", name);
  return *model.image_encoder;
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
                                  {"dtype", std::string(dtype_to_name(model.placement.dtype))},
                                  {"device", c10::DeviceTypeName(model.placement.device.type(), /*lower_case=*/true)},
                                  {"unetParameters", model.unet.parameter_count()},
                                  {"vaeParameters", model.vae.parameter_count()},
                                  {"textEncoderParameters", model.text_encoder.parameter_count()},
                                  {"attentionLayers", emit_list(info.Env(), nn::attention_layers(model.unet), [&](const std::string& name) { return Napi::String::New(info.Env(), name); })}});
}

Napi::Value diffusion_weights(const Napi::CallbackInfo& info) {
  const auto object = Handle<Diffusion>::get(info[0]);
  return emit_named_tensors(info.Env(), diffusion::merged_parameters(part_of(*object->model, info[1].ToString()), *object->loras.active()));
}

Napi::Value save_diffusion(const Napi::CallbackInfo& info) {
  const Fields fields(info[1], "options");
  std::string part, path, dtype = "float32";
  fields.read("part", part).read("path", path).read("dtype", dtype);
  const at::ScalarType wanted = dtype_from_name(dtype);
  const auto loras = Handle<Diffusion>::get(info[0])->loras.active();
  return start_on_model(info, fields, [=](const diffusion::Model& model, JobContext&, const nn::Poll& poll) -> Emit {
    NamedTensors weights;
    for (const auto& [name, value] : diffusion::merged_parameters(part_of(model, part), *loras)) {
      poll();
      weights.emplace_back(name, value);
    }
    write_safetensors(path, diffusion::stored_as(weights, wanted), {{"format", "pt"}});
    return [](Napi::Env env) { return env.Undefined(); };
  });
}

Napi::Value encode_text(const Napi::CallbackInfo& info) {
  const Fields fields(info[1], "options");
  const at::Tensor ids = parse_tensor(fields.required("ids"), "ids");  // [B, L]
  int64_t skipped = 0;
  fields.read("skipped_layers", skipped);
  return start_on_model(info, fields, [=](const diffusion::Model& model, JobContext&, const nn::Poll&) -> Emit {
    return emit_encoding(model.text_encoder(ids, skipped));
  });
}

Napi::Value encode_vision(const Napi::CallbackInfo& info) {
  const Fields fields(info[1], "options");
  const at::Tensor pixels = parse_tensor(fields.required("pixels"), "pixels");  // [B, 3, size, size]
  return start_on_model(info, fields, [=](const diffusion::Model& model, JobContext&, const nn::Poll&) -> Emit {
    expect(model.image_encoder != nullptr, "Expected a model with an image encoder, this one has none");
    return emit_encoding((*model.image_encoder)(pixels));
  });
}

Napi::Value predict_noise(const Napi::CallbackInfo& info) {
  const Fields fields(info[1], "options");
  const at::Tensor latents = parse_tensor(fields.required("latents"), "latents"), context = parse_tensor(fields.required("context"), "context");
  const at::Tensor timestep = parse_tensor(fields.required("timestep"), "timestep");  // [1] or [B]
  const std::optional<nn::FreeU> free_u = parse_free_u(fields);
  const std::optional<nn::TokenMerging> merging = parse_token_merging(fields);
  const nn::AttentionControlOptions attention = parse_attention(fields);
  return start_on_model(info, fields, [=](const diffusion::Model& model, JobContext&, const nn::Poll& poll) -> Emit {
    if (!attention.empty()) nn::check_attention(attention, model.unet, latents.size(0));
    nn::AttentionControls controls(attention, latents.size(0));
    nn::UnetOptions options{.free_u = free_u, .merging = merging, .poll = poll};
    if (!attention.empty()) options.control = &controls;
    const at::Tensor noise = diffusion::predict_noise(model, latents, timestep, context, options);
    return [noise, records = controls.records()](Napi::Env env) { return emit_object(env, {{"noise", emit_tensor(env, noise)}, {"attention", emit_attention(env, records)}}); };
  });
}

Napi::Value encode_pixels(const Napi::CallbackInfo& info) {
  const Fields fields(info[1], "options");
  const at::Tensor pixels = parse_tensor(fields.required("pixels"), "pixels");  // [B, 3, H, W] in [-1, 1]
  bool tiled = false;
  fields.read("tiled", tiled);
  return start_on_model(info, fields, [=](const diffusion::Model& model, JobContext&, const nn::Poll& poll) -> Emit {
    const auto [mean, log_variance] = tiled ? model.vae.encode_tiled(pixels, poll) : model.vae.encode(pixels, poll);
    return [mean, log_variance](Napi::Env env) { return emit_object(env, {{"mean", emit_tensor(env, mean)}, {"logVariance", emit_tensor(env, log_variance)}}); };
  });
}

Napi::Value decode_latents(const Napi::CallbackInfo& info) {
  const Fields fields(info[1], "options");
  const at::Tensor latents = parse_tensor(fields.required("latents"), "latents");
  bool tiled = false, scaled = true;
  fields.read("tiled", tiled).read("scaled", scaled);
  return start_on_model(info, fields, [=](const diffusion::Model& model, JobContext&, const nn::Poll& poll) -> Emit {
    return emitting((scaled ? diffusion::decode_latents : diffusion::decode_unscaled)(model, latents, tiled, poll));
  });
}

Napi::Value generate(const Napi::CallbackInfo& info) {
  const Fields fields(info[1], "options");
  const auto options = std::make_shared<const diffusion::GenerateOptions>(parse_generate_options(fields));
  return start_on_model(info, fields, [=](const diffusion::Model& model, JobContext& context, const nn::Poll& poll) -> Emit {
    const auto on_step = [&context](int64_t done, int64_t total, double sigma, const std::vector<image::Image>& preview) {
      context.progress([=](Napi::Env env) {
        Napi::Object event = emit_object(env, {{"type", std::string("step")}, {"step", done}, {"steps", total}, {"sigma", sigma}});
        if (!preview.empty()) event.Set("preview", emit_images(env, preview));
        return event;
      });
    };
    const auto result = std::make_shared<diffusion::Generated>(diffusion::generate(model, *options, on_step, poll));
    return [result](Napi::Env env) {
      return emit_object(env, {{"latents", emit_tensor(env, result->latents)}, {"images", emit_images(env, result->images)}, {"attention", emit_attention(env, result->attention)}});
    };
  });
}

Napi::Value invert(const Napi::CallbackInfo& info) {
  const Fields fields(info[1], "options");
  const diffusion::Guidance guidance = parse_guidance(fields);
  const diffusion::NoiseSchedule schedule = diffusion::make_noise_schedule(parse_noise_schedule_options(fields.required_object("schedule")));
  const at::Tensor latents = parse_tensor(fields.required("latents"), "latents");  // [B, C, h, w]
  const diffusion::InversionKind kind = parse_inversion_kind(fields);
  int64_t steps = 50, batch_size = 4;
  std::vector<uint64_t> seeds;
  fields.read("steps", steps).read("seeds", seeds).read("batch_size", batch_size);
  return start_on_model(info, fields, [=](const diffusion::Model& model, JobContext& context, const nn::Poll& poll) -> Emit {
    const diffusion::OnInvert on_step = report_steps(context);
    std::vector<diffusion::Level> levels;
    std::vector<at::Tensor> trajectory, noises;
    switch (kind) {
      case diffusion::InversionKind::ddim: {
        auto found = diffusion::invert_ddim(diffusion::guided_predictor(model, guidance, latents.size(0), poll), schedule, steps, latents, on_step);
        std::tie(levels, trajectory) = std::tie(found.levels, found.latents);
        break;
      }
      case diffusion::InversionKind::edit_friendly: {
        diffusion::NoiseSource noise(seeds);
        auto found = diffusion::invert_edit_friendly(model, guidance, schedule, steps, latents, noise, batch_size, on_step, poll);
        std::tie(levels, trajectory, noises) = std::tie(found.plan.levels, found.latents, found.noises);
        break;
      }
    }
    return [=](Napi::Env env) {
      const auto tensors = [env](const std::vector<at::Tensor>& list) { return emit_list(env, list, [env](const at::Tensor& x) { return emit_tensor(env, x); }); };
      const auto timesteps = emit_list(env, levels, [env](const diffusion::Level& level) { return Napi::Number::New(env, level.timestep); });
      return emit_object(env, {{"timesteps", timesteps}, {"latents", tensors(trajectory)}, {"noises", tensors(noises)}});
    };
  });
}

Napi::Value replay_inversion(const Napi::CallbackInfo& info) {
  const Fields fields(info[1], "options");
  const diffusion::Guidance guidance = parse_guidance(fields);
  const diffusion::NoiseSchedule schedule = diffusion::make_noise_schedule(parse_noise_schedule_options(fields.required_object("schedule")));
  const at::Tensor latents = parse_tensor(fields.required("latents"), "latents");  // [B, C, h, w] at step `first`
  std::vector<at::Tensor> noises;
  for (const Napi::Value& value : elements(fields.required("noises"), "noises")) noises.push_back(parse_tensor(value, "noises"));
  int64_t first = 0;
  fields.read("first", first);
  return start_on_model(info, fields, [=](const diffusion::Model& model, JobContext& context, const nn::Poll& poll) -> Emit {
    const auto denoise = diffusion::denoiser_of(diffusion::guided_predictor(model, guidance, latents.size(0), poll), schedule.options.prediction);
    const diffusion::SamplePlan plan = diffusion::ddim_plan(schedule, static_cast<int64_t>(noises.size()));
    return emitting(diffusion::replay(plan, noises, first, latents, denoise, report_steps(context)));
  });
}

bool dispose_diffusion(const Napi::Value& value) { return Handle<Diffusion>::dispose(value); }

}  // namespace seedbed::binding
