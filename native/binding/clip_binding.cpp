#include "clip_binding.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <mutex>

#include "diffusion/weights.h"
#include "diffusion_options.h"
#include "environment.h"
#include "handle.h"
#include "image_set.h"
#include "lora_options.h"
#include "options.h"
#include "picture_job.h"
#include "tensor/check.h"
#include "train/clip_classifier.h"
#include "train_events.h"
#include "values.h"

namespace seedbed::binding {

namespace {

struct Clip {
  static constexpr const char* kTypeName = "CLIP model";
  static constexpr napi_type_tag kTypeTag{0x51d3a7c60e9f4b28, 0xa6e2190b7cd5843f};

  Clip(const nn::ClipTextConfig& text, const nn::ClipVisionConfig& vision) : model(text, vision) {}
  int64_t parameter_count() const { return model.text.parameter_count() + model.vision.parameter_count(); }

  train::ClipModel model;
};

struct ClipClassifier {
  static constexpr const char* kTypeName = "CLIP classifier";
  static constexpr napi_type_tag kTypeTag{0x7be0451f9a2c4d13, 0x86f3c2a7d05e19b4};

  // What a call works with, whatever is trained meanwhile.
  struct State {
    std::shared_ptr<const train::ClipAdapters> adapters;  // may be missing
    at::Tensor embeddings;                                // of the classes; undefined until they are asked for
  };

  State state() {
    const std::lock_guard lock(mutex);
    return current;
  }
  // With the classes' embeddings.
  State complete(WorkerPool& pool, const std::function<void()>& on_batch) {
    State own = state();
    if (own.embeddings.defined()) return own;
    own.embeddings = train::class_embeddings(clip->model, texts, own.adapters.get(), pool, on_batch);
    const std::lock_guard lock(mutex);
    if (current.adapters == own.adapters) current.embeddings = own.embeddings;
    return own;
  }
  void adapt(std::shared_ptr<const train::ClipAdapters> adapters) {
    const std::lock_guard lock(mutex);
    current = {std::move(adapters), {}};
  }

  std::shared_ptr<const Clip> clip;
  train::ClassTexts texts;
  std::mutex mutex;
  State current;
};

// The towers' tensors, and the scale of a file that has it.
void load(const Clip& clip, const NamedTensors& file, double logit_scale) {
  NamedTensors wanted = clip.model.text.named_parameters(), text, vision;
  for (auto& one : clip.model.vision.named_parameters()) wanted.push_back(std::move(one));
  const c10::NoGradGuard no_grad;
  clip.model.logit_scale.fill_(std::log(logit_scale)).requires_grad_(false);
  for (auto& [name, value] : diffusion::from_diffusers(file, wanted)) {
    if (name == "logit_scale") {
      clip.model.logit_scale.copy_(value.reshape({}));
      continue;
    }
    (name.starts_with("text_") ? text : vision).emplace_back(name, value);
  }
  nn::adopt_parameters(clip.model.text, text);
  nn::adopt_parameters(clip.model.vision, vision);
}

train::ClipFactors parse_clip_factors(const Fields& fields) { return {.text = parse_lora_factors(fields, "text_factors"), .vision = parse_lora_factors(fields, "vision_factors")}; }

train::ClipClassifierOptions parse_clip_classifier_options(const Fields& fields) {
  train::ClipClassifierOptions o;
  o.updates = parse_update_options(fields, o.updates);
  fields.read("recompute", o.recompute).read("batch_size", o.batch_size).read("shard_size", o.shard_size).read("real_weight", o.real_weight).read("seed", o.seed);
  parse_lora_draw(fields, o.draw);
  fields.read("text_targets", o.text_targets).read("vision_targets", o.vision_targets);
  o.normalisation = parse_view(fields).normalisation;
  o.initial = parse_clip_factors(fields);
  if (const auto augment = fields.object("augment")) o.augment = parse_augment_options(*augment);
  return o;
}

Napi::Value no_evaluation(Napi::Env env, const train::EvaluationReport&) { return env.Undefined(); }

}  // namespace

Napi::Value create_clip(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  const auto clip = std::make_shared<Clip>(parse_text_config(fields.required_object("text")), parse_vision_config(fields.required_object("vision")));
  expect(clip->model.text.config().projection_dim > 0 && clip->model.text.config().projection_dim == clip->model.vision.config().projection_dim, "Expected towers with projections of one size, received {} and {}",
         clip->model.text.config().projection_dim, clip->model.vision.config().projection_dim);
  double logit_scale = train::kFirstClipScale;
  fields.read("logit_scale", logit_scale);
  load(*clip, diffusion::read_weights(parse_weight_files(fields).files), logit_scale);
  clip->model.text.prepare({});
  clip->model.vision.prepare({});
  return Handle<Clip>::make(info.Env(), clip, clip->parameter_count() * 4);
}

Napi::Value clip_info(const Napi::CallbackInfo& info) {
  const auto clip = Handle<Clip>::get(info[0]);
  const train::ClipModel& m = clip->model;
  return emit_object(info.Env(), {{"parameters", clip->parameter_count()},
                                  {"imageSize", m.vision.config().image_size},
                                  {"projectionDim", m.vision.config().projection_dim},
                                  {"logitScale", m.logit_scale.exp().item<double>()}});
}

Napi::Value encode_clip_texts(const Napi::CallbackInfo& info) {
  const auto clip = Handle<Clip>::get(info[0]);
  const Fields fields(info[1], "options");
  const at::Tensor ids = parse_tensor(fields.required("ids"), "ids");
  check_shape(ids, "ids", {-1, -1});
  const int threads = parse_threads(fields);
  return Environment::of(info.Env()).jobs.start(info.Env(), Lane::compute, parse_listener(info[2]), [=](JobContext& context) -> Emit {
    WorkerPool pool(threads);
    const at::Tensor embeddings = train::text_embeddings(clip->model, ids, nullptr, pool, [&context] { context.throw_if_cancelled(); });
    return [embeddings](Napi::Env env) { return emit_tensor(env, embeddings); };
  });
}

Napi::Value encode_clip_images(const Napi::CallbackInfo& info) {
  const auto clip = Handle<Clip>::get(info[0]);
  return start_picture_job(info, [clip](const auto& images, const auto& view, WorkerPool& pool, const auto& poll) { return train::picture_embeddings(clip->model, images, view, nullptr, pool, poll); });
}

Napi::Value create_clip_classifier(const Napi::CallbackInfo& info) {
  const auto clip = Handle<Clip>::get(info[0]);
  const Fields fields(info[1], "options");
  const auto classifier = std::make_shared<ClipClassifier>();
  classifier->clip = clip;
  classifier->texts.ids = parse_tensor(fields.required("ids"), "ids");
  fields.read("counts", classifier->texts.counts);
  train::check_class_texts(classifier->texts);
  const train::ClipFactors factors = parse_clip_factors(fields);
  if (!factors.text.empty() || !factors.vision.empty()) classifier->adapt(std::make_shared<const train::ClipAdapters>(clip->model, factors, nn::AdapterUse::inference));
  return Handle<ClipClassifier>::make(info.Env(), classifier, classifier->texts.ids.nbytes());
}

Napi::Value clip_classifier_factors(const Napi::CallbackInfo& info) {
  const auto classifier = Handle<ClipClassifier>::get(info[0]);
  const auto adapters = classifier->state().adapters;
  const train::ClipFactors factors = adapters ? adapters->factors() : train::ClipFactors{};
  return emit_object(info.Env(), {{"text", emit_lora_factors(info.Env(), factors.text)}, {"vision", emit_lora_factors(info.Env(), factors.vision)}});
}

Napi::Value train_clip_classifier(const Napi::CallbackInfo& info) {
  const auto classifier = Handle<ClipClassifier>::get(info[0]);
  const Fields fields(info[1], "options");
  const auto data = Handle<ImageSet>::get(fields.required("train"));
  const auto synthetic = fields.optional("synthetic") ? Handle<ImageSet>::get(fields.required("synthetic")) : nullptr;
  const auto options = std::make_shared<const train::ClipClassifierOptions>(parse_clip_classifier_options(fields));
  const int threads = parse_threads(fields);
  return Environment::of(info.Env()).jobs.start(info.Env(), Lane::training, parse_listener(info[2]), [=](JobContext& context) -> Emit {
    WorkerPool pool(threads);
    const train::ClipModel& model = classifier->clip->model;
    const auto [result, factors] = train::train_clip_classifier(model, classifier->texts, *data->pictures, pictures_of(synthetic), *options, pool, report_to(context, options->updates.steps, no_evaluation));
    const auto adapters = std::make_shared<const train::ClipAdapters>(model, factors, nn::AdapterUse::inference);
    classifier->adapt(adapters);
    return [result = result, parameters = adapters->parameter_count()](Napi::Env env) {
      Napi::Object out = emit_result(env, result, no_evaluation);
      out.Set("parameters", Napi::Number::New(env, static_cast<double>(parameters)));
      return out;
    };
  });
}

Napi::Value predict_clip_classifier(const Napi::CallbackInfo& info) {
  const auto classifier = Handle<ClipClassifier>::get(info[0]);
  return start_picture_job(info, [classifier](const auto& images, const auto& view, WorkerPool& pool, const auto& poll) {
    const train::ClipModel& model = classifier->clip->model;
    const c10::NoGradGuard no_grad;
    const ClipClassifier::State state = classifier->complete(pool, poll);
    return model.logit_scale.exp() * train::picture_embeddings(model, images, view, state.adapters.get(), pool, poll).matmul(state.embeddings.t());
  });
}

bool dispose_clip(const Napi::Value& value) { return Handle<Clip>::dispose(value) || Handle<ClipClassifier>::dispose(value); }

}  // namespace seedbed::binding
