#include "pretrain_binding.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "diffusion_options.h"
#include "environment.h"
#include "nn/autoencoder_kl.h"
#include "options.h"
#include "pretrain_options.h"
#include "train_events.h"
#include "values.h"

namespace seedbed::binding {

namespace {

Napi::Value emit_quality(Napi::Env env, const train::EvaluationReport& r) {
  return emit_object(env, {{"type", std::string("evaluation")}, {"step", r.step}, {"error", r.loss}, {"psnr", r.accuracy}});
}

Napi::Value emit_numbers(Napi::Env env, const std::vector<double>& numbers) {
  return emit_list(env, numbers, [env](double value) { return Napi::Number::New(env, value); });
}

// Weights of a diffusers folder under the names of `network`; none when no files are named.
template <typename Network>
NamedTensors read_start(const diffusion::WeightFiles& start, const Network& network) {
  return start.files.empty() ? NamedTensors() : diffusion::from_diffusers(diffusion::read_weights(start.files), network.named_parameters());
}

// Both towers' weights, read as above, and the scale of their similarities, which has a file of a whole CLIP only.
NamedTensors read_clip_start(const diffusion::WeightFiles& start, const train::ClipModel& model, double logit_scale) {
  NamedTensors weights = read_start(start, model);
  if (!start.files.empty() && std::ranges::find(weights, "logit_scale", &NamedTensors::value_type::first) == weights.end()) weights.emplace_back("logit_scale", at::full({}, std::log(logit_scale)));
  return weights;
}

// Tensors over the caller's memory, and what must stay for them.
class SharedTensors {
 public:
  explicit SharedTensors(const Fields& fields) : fields_(fields) {}

  at::Tensor required(std::string_view name) { return share(fields_.required(name), name); }
  at::Tensor optional(std::string_view name) {
    const auto value = fields_.optional(name);
    return value ? share(*value, name) : at::Tensor();
  }
  const std::vector<Napi::Value>& kept() const { return kept_; }

 private:
  at::Tensor share(const Napi::Value& value, std::string_view name) {
    kept_.push_back(Fields(value, fields_.path_of(name)).required("data"));
    return share_tensor(value, fields_.path_of(name));
  }

  const Fields& fields_;
  std::vector<Napi::Value> kept_;
};

Napi::Value emit_top1(Napi::Env env, const train::EvaluationReport& r) {
  return emit_object(env, {{"type", std::string("evaluation")}, {"step", r.step}, {"top1", r.accuracy}, {"top5", 1 - r.loss}});
}

Napi::Value emit_retrieval(Napi::Env env, const train::Retrieval& r) { return emit_object(env, {{"top1", r.top1}, {"top5", r.top5}}); }

train::CaptionedPictures parse_captioned(const Fields& fields, std::vector<Napi::Value>& kept) {
  SharedTensors shared(fields);
  const auto small = [&](const char* name) { return parse_tensor(fields.required(name), fields.path_of(name)); };
  train::CaptionedPictures data{.pictures = shared.required("pictures"), .ids = small("ids"), .captions = small("captions"), .starts = small("starts"), .groups = {}, .repeats = {}};
  if (fields.optional("groups")) data.groups = small("groups");
  if (fields.optional("repeats")) data.repeats = small("repeats");
  kept.insert(kept.end(), shared.kept().begin(), shared.kept().end());
  return data;
}

// A network with the weights of `files`, frozen.
template <typename Network, typename Config>
std::shared_ptr<const Network> read_network(const Config& config, const diffusion::WeightFiles& files) {
  const auto network = std::make_shared<Network>(config);
  nn::adopt_parameters(*network, read_start(files, *network));
  network->prepare({});
  return network;
}

Napi::Value emit_check(Napi::Env env, const train::CaptionCheck& c) {
  return emit_object(env, {{"type", std::string("check")}, {"step", c.step}, {"error", emit_numbers(env, {c.error.begin(), c.error.end()})}, {"right", c.right}, {"shuffled", c.shuffled}});
}

train::DiffusionCallbacks report_diffusion_to(JobContext& context, int64_t steps) {
  train::DiffusionCallbacks callbacks;
  callbacks.train = report_to(context, steps, nullptr);
  callbacks.poll = [&context] { context.throw_if_cancelled(); };
  callbacks.on_check = [&context](const train::CaptionCheck& check) { context.progress([check](Napi::Env env) { return emit_check(env, check); }); };
  callbacks.on_encode = [&context](int64_t done, int64_t total) { context.progress(encode_event(done, total)); };
  return callbacks;
}

}  // namespace

Napi::Value train_autoencoder(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  const nn::VaeConfig config = parse_vae_config(fields.required_object("config"));
  const auto options = std::make_shared<train::AutoencoderOptions>(parse_autoencoder_options(fields));
  const diffusion::WeightFiles start = parse_weight_files(fields);
  SharedTensors shared(fields);
  const at::Tensor pictures = shared.required("pictures"), validation = shared.optional("validation");
  const int threads = parse_threads(fields);
  const auto work = [=](JobContext& context) -> Emit {
    WorkerPool pool(threads);
    options->initial = read_start(start, nn::AutoencoderKl(config));
    const auto result = std::make_shared<train::AutoencoderResult>(
        train::train_autoencoder(config, pictures, validation, *options, pool, report_to(context, options->updates.steps, emit_quality)));
    return [result](Napi::Env env) {
      return emit_object(env, {{"training", emit_result(env, result->train, emit_quality)},
                               {"weights", emit_named_tensors(env, result->weights)},
                               {"mean", emit_numbers(env, result->mean)},
                               {"deviation", emit_numbers(env, result->deviation)}});
    };
  };
  return Environment::of(info.Env()).jobs.start(info.Env(), Lane::training, parse_listener(info[1]), work, shared.kept());
}

Napi::Value train_clip(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  const nn::ClipTextConfig text = parse_text_config(fields.required_object("text"));
  const nn::ClipVisionConfig vision = parse_vision_config(fields.required_object("vision"));
  const auto options = std::make_shared<train::ClipOptions>(parse_clip_options(fields));
  const diffusion::WeightFiles start = parse_weight_files(fields);
  double start_scale = train::kFirstClipScale;
  fields.read("logit_scale", start_scale);
  std::vector<Napi::Value> kept;
  const train::CaptionedPictures data = parse_captioned(fields.required_object("data"), kept);
  const auto held_out = fields.object("validation");
  const auto validation = held_out ? std::make_optional(parse_captioned(*held_out, kept)) : std::nullopt;
  const int threads = parse_threads(fields);
  const auto work = [=](JobContext& context) -> Emit {
    WorkerPool pool(threads);
    options->initial = read_clip_start(start, train::ClipModel(text, vision), start_scale);
    const auto result = std::make_shared<train::ClipResult>(
        train::train_clip(text, vision, data, validation ? &*validation : nullptr, *options, pool, report_to(context, options->updates.steps, emit_top1)));
    return [result, measured = validation.has_value()](Napi::Env env) {
      Napi::Object out = emit_object(env, {{"training", emit_result(env, result->train, emit_top1)},
                                                 {"weights", emit_named_tensors(env, result->weights)},
                                                 {"logitScale", result->logit_scale},
                                                 {"spread", emit_numbers(env, result->spread)}});
      if (measured) out.Set("pictureToText", emit_retrieval(env, result->picture_to_text));
      if (measured) out.Set("textToPicture", emit_retrieval(env, result->text_to_picture));
      return out;
    };
  };
  return Environment::of(info.Env()).jobs.start(info.Env(), Lane::training, parse_listener(info[1]), work, kept);
}

Napi::Value train_diffusion(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  const nn::UnetConfig config = parse_unet_config(fields.required_object("config"));
  const Fields vae_fields = fields.required_object("vae"), text_fields = fields.required_object("text_encoder");
  const nn::VaeConfig vae_config = parse_vae_config(vae_fields.required_object("config"));
  const nn::ClipTextConfig text_config = parse_text_config(text_fields.required_object("config"));
  const diffusion::WeightFiles start = parse_weight_files(fields), vae_files = parse_weight_files(vae_fields), text_files = parse_weight_files(text_fields);
  const auto options = std::make_shared<train::DiffusionTrainOptions>(parse_diffusion_train_options(fields));
  std::vector<Napi::Value> kept;
  const train::CaptionedPictures data = parse_captioned(fields.required_object("data"), kept);
  const auto held_out = fields.object("checked");
  const auto checked = held_out ? std::make_optional(parse_captioned(*held_out, kept)) : std::nullopt;
  const int threads = parse_threads(fields);
  const auto work = [=](JobContext& context) -> Emit {
    WorkerPool pool(threads);
    options->initial = read_start(start, nn::Unet2dCondition(config));
    const auto vae = read_network<nn::AutoencoderKl>(vae_config, vae_files);
    const auto text_encoder = read_network<nn::ClipText>(text_config, text_files);
    const auto result = std::make_shared<train::DiffusionResult>(train::train_diffusion(config, *vae, *text_encoder, data, checked ? &*checked : nullptr, *options, pool,
                                                                                        report_diffusion_to(context, options->updates.steps)));
    return [result](Napi::Env env) {
      return emit_object(env, {{"steps", result->train.steps},
                               {"samples", result->train.samples},
                               {"losses", emit_losses(env, result->train)},
                               {"check", emit_check(env, result->check)},
                               {"weights", emit_named_tensors(env, result->weights)},
                               {"textWeights", emit_named_tensors(env, result->text_weights)}});
    };
  };
  return Environment::of(info.Env()).jobs.start(info.Env(), Lane::training, parse_listener(info[1]), work, kept);
}

}  // namespace seedbed::binding
