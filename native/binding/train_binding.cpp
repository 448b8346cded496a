#include "train_binding.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include "classifier_options.h"
#include "environment.h"
#include "handle.h"
#include "image/canny.h"
#include "image/augment.h"
#include "image_set.h"
#include "lora_options.h"
#include "options.h"
#include "picture_job.h"
#include "tensor/dtype.h"
#include "tensor/scratch.h"
#include "train/labelled_images.h"
#include "train/loop.h"
#include "train_events.h"
#include "values.h"

namespace seedbed::binding {

namespace {

struct Classifier {
  static constexpr const char* kTypeName = "classifier";
  static constexpr napi_type_tag kTypeTag{0x3f7a90c1e5d2486b, 0x9c04b7e2a85d1f36};

  explicit Classifier(const nn::ClassifierConfig& sizes) : config(sizes), network(nn::make_classifier(sizes)), model(*network) {}
  int64_t bytes() const { return model.parameter_count() * 4; }

  // Parameters and buffers, with what the adapter changes.
  NamedTensors weights() const { return adapter ? nn::merged_state(model, *adapter) : model.named_state(); }
  const nn::ActiveLoras* active() const { return adapter ? &adapter->active() : nullptr; }

  nn::ClassifierConfig config;
  std::unique_ptr<nn::ClassifierNetwork> network;
  nn::ClassifierNetwork& model;
  std::shared_ptr<const nn::NetworkAdapter> adapter;  // may be missing
};

Napi::Value emit_evaluation(Napi::Env env, const train::EvaluationReport& r) {
  return emit_object(env, {{"type", std::string("evaluation")}, {"step", r.step}, {"loss", r.loss}, {"accuracy", r.accuracy}});
}

NamedTensors tensors_of(const SafetensorsFile& file) {
  NamedTensors tensors;
  for (const std::string& name : file.names()) tensors.emplace_back(name, file.tensor(name));
  return tensors;
}

// With `new_head`, the given head is left out and the model keeps its own.
void load_weights(const nn::ClassifierNetwork& model, const NamedTensors& given, bool new_head) {
  NamedTensors weights;
  for (const auto& [name, value] : given)
    if (!new_head || !model.is_head(name)) weights.emplace_back(name, value);
  for (const auto& [name, value] : model.named_parameters())
    if (new_head && model.is_head(name)) weights.emplace_back(name, value.detach().clone());
  nn::load_parameters(model, weights);
}

// Weight and bias of the last layer in place of the model's own.
void load_head(const nn::ClassifierNetwork& model, const NamedTensors& head) {
  NamedTensors weights = head;
  for (const auto& [name, value] : model.named_state())
    if (!model.is_head(name)) weights.emplace_back(name, value.detach().clone());
  nn::load_parameters(model, weights);
}

// Numbers that are no counts, in the type of a file.
at::Tensor in_type(const at::Tensor& value, at::ScalarType dtype) { return value.is_floating_point() ? value.detach().to(dtype) : value; }

// That of the vector code `kernel` names, or the best.
const image::PictureKernel& parse_picture_kernel(const Fields& fields) {
  std::string kernel;
  fields.read("kernel", kernel);
  return image::picture_kernel(kernel.c_str());
}

}  // namespace

Napi::Value create_image_set(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  std::vector<int64_t> labels;
  int64_t classes = 0;
  fields.read("labels", labels).read("classes", classes);
  return emit_image_set(info.Env(), std::make_shared<train::LabelledImages>(parse_images(fields, "images"), std::move(labels), classes));
}

Napi::Value image_set_info(const Napi::CallbackInfo& info) {
  const auto set = Handle<ImageSet>::get(info[0]);
  return emit_object(info.Env(), {{"length", set->pictures->size()}, {"classes", set->pictures->classes()}, {"bytes", set->pictures->bytes()}});
}

Napi::Value create_classifier(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  auto classifier = std::make_shared<Classifier>(parse_classifier_config(fields));
  uint64_t seed = 0;
  std::string path;
  bool new_head = false;
  fields.read("seed", seed).read("weights", path).read("new_head", new_head);
  at::Generator generator = make_generator(seed);
  classifier->model.initialise(generator);
  if (!path.empty()) load_weights(classifier->model, tensors_of(SafetensorsFile(path)), new_head);
  if (const auto source = fields.optional("source")) load_weights(classifier->model, Handle<Classifier>::get(*source)->weights(), new_head);
  if (const auto head = fields.optional("head")) load_head(classifier->model, parse_named_tensors(*head, "head"));
  if (const auto factors = parse_lora_factors(fields, "adapter"); !factors.empty()) classifier->adapter = std::make_shared<const nn::NetworkAdapter>(classifier->model, factors, nn::AdapterUse::inference);
  return Handle<Classifier>::make(info.Env(), classifier, classifier->bytes());
}

Napi::Value classifier_info(const Napi::CallbackInfo& info) {
  const auto classifier = Handle<Classifier>::get(info[0]);
  Napi::Object out = emit_classifier_config(info.Env(), classifier->config);
  out.Set("parameters", static_cast<double>(classifier->model.parameter_count()));
  out.Set("adapterParameters", static_cast<double>(classifier->adapter ? classifier->adapter->parameter_count() : 0));
  return out;
}

Napi::Value classifier_adapter(const Napi::CallbackInfo& info) {
  const auto classifier = Handle<Classifier>::get(info[0]);
  if (!classifier->adapter) return info.Env().Undefined();
  NamedTensors head;
  for (const auto& [name, value] : classifier->model.named_parameters())
    if (classifier->model.is_head(name)) head.emplace_back(name, value.detach());
  return emit_object(info.Env(), {{"factors", emit_lora_factors(info.Env(), classifier->adapter->factors())}, {"head", emit_named_tensors(info.Env(), head)}});
}

Napi::Value classifier_fingerprint(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), fmt::format("{:016x}", train::backbone_fingerprint(Handle<Classifier>::get(info[0])->model)));
}

Napi::Value classifier_weights(const Napi::CallbackInfo& info) {
  return emit_named_tensors(info.Env(), Handle<Classifier>::get(info[0])->weights());
}

Napi::Value save_classifier(const Napi::CallbackInfo& info) {
  const auto classifier = Handle<Classifier>::get(info[0]);
  const Fields fields(info[1], "options");
  std::string path, dtype = "float32";
  fields.read("path", path).read("dtype", dtype);
  NamedTensors weights;
  for (const auto& [name, value] : classifier->weights()) weights.emplace_back(name, in_type(value, dtype_from_name(dtype)));
  write_safetensors(path, weights, {{"format", "pt"}});
  return info.Env().Undefined();
}

Napi::Value train_classifier(const Napi::CallbackInfo& info) {
  const auto classifier = Handle<Classifier>::get(info[0]);
  const Fields fields(info[1], "options");
  const auto data = Handle<ImageSet>::get(fields.required("train"));
  const auto synthetic = fields.optional("synthetic") ? Handle<ImageSet>::get(fields.required("synthetic")) : nullptr;
  const auto validation = fields.optional("validation") ? Handle<ImageSet>::get(fields.required("validation")) : nullptr;
  const train::TrainOptions options = parse_train_options(fields);
  const int threads = parse_threads(fields);
  return Environment::of(info.Env()).jobs.start(info.Env(), Lane::training, parse_listener(info[2]), [=](JobContext& context) -> Emit {
    WorkerPool pool(threads);
    const auto [result, factors] = train::train_classifier(classifier->model, *data->pictures, pictures_of(synthetic), pictures_of(validation), options, pool, report_to(context, options.updates.steps, emit_evaluation));
    if (!factors.empty()) classifier->adapter = std::make_shared<const nn::NetworkAdapter>(classifier->model, factors, nn::AdapterUse::inference);
    return [result = result](Napi::Env env) {
      Napi::Object out = emit_result(env, result, emit_evaluation);
      if (result.best) out.Set("best", emit_evaluation(env, *result.best));
      return out;
    };
  });
}

Napi::Value predict_classifier(const Napi::CallbackInfo& info) {
  const auto classifier = Handle<Classifier>::get(info[0]);
  return start_picture_job(info, [classifier](const auto& images, const auto& view, WorkerPool& pool, const auto& poll) { return train::predict_logits(classifier->model, images, view, pool, poll, classifier->active()); });
}

Napi::Value evaluate_classifier(const Napi::CallbackInfo& info) {
  const auto classifier = Handle<Classifier>::get(info[0]);
  const Fields fields(info[1], "options");
  const auto data = Handle<ImageSet>::get(fields.required("data"));
  const train::View view = parse_view(fields);
  const int threads = parse_threads(fields);
  return Environment::of(info.Env()).jobs.start(info.Env(), Lane::compute, parse_listener(info[2]), [=](JobContext& context) -> Emit {
    WorkerPool pool(threads);
    const train::Evaluation result = train::evaluate(classifier->model, *data->pictures, view, pool, [&context] { context.throw_if_cancelled(); }, classifier->active());
    return [result](Napi::Env env) {
      const auto predictions = emit_list(env, result.predictions, [env](int64_t p) { return Napi::Number::New(env, static_cast<double>(p)); });
      return emit_object(env, {{"loss", result.loss}, {"accuracy", result.accuracy}, {"predictions", predictions}});
    };
  });
}

bool dispose_classifier(const Napi::Value& value) { return Handle<Classifier>::dispose(value); }

Napi::Value lr_at(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), train::lr_at(parse_lr_schedule(Fields(info[0], "schedule")), info[1].ToNumber().Int64Value()));
}

Napi::Value mix_batch(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  const at::Tensor pixels = parse_tensor(fields.required("pixels"), "pixels"), labels = parse_tensor(fields.required("labels"), "labels");
  const train::Mix mix = parse_mix(fields);
  double smoothing = 0;
  int64_t classes = 1;
  fields.read("smoothing", smoothing).read("classes", classes);
  const int64_t B = pixels.size(0);
  return emit_object(info.Env(), {{"pixels", emit_tensor(info.Env(), train::mix_rows(pixels, mix, 0, B))},
                                  {"targets", emit_tensor(info.Env(), train::mix_targets(labels, mix, smoothing, classes, 0, B))}});
}

Napi::Value apply_augment_op(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  image::Image picture = parse_image(fields.required_object("image"));
  double magnitude = 9;
  bool negative = false;
  uint8_t fill = 128;
  fields.read("magnitude", magnitude).read("negative", negative).read("fill", fill);
  image::apply_op(picture, parse_augment_op(fields), magnitude, negative, fill, parse_picture_kernel(fields));
  return emit_image(info.Env(), picture);
}

Napi::Value resize_image(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  int64_t width = 0, height = 0;
  fields.read("width", width).read("height", height);
  return emit_image(info.Env(), image::resize(parse_image(fields.required_object("image")), width, height, parse_filter(fields), parse_picture_kernel(fields)));
}

Napi::Value canny_edges(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  image::CannyOptions options;
  fields.read("sigma", options.sigma).read("low", options.low).read("high", options.high);
  const image::Image picture = parse_image(fields.required_object("image"));
  return Environment::of(info.Env()).jobs.start(info.Env(), Lane::compute, parse_listener(info[1]), [=](JobContext&) -> Emit {
    const image::Image edges = image::canny(picture, options);
    return [edges](Napi::Env env) { return emit_image(env, edges); };
  });
}

Napi::Value augment_images(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  int64_t size = 224;
  uint64_t seed = 0;
  fields.read("size", size).read("seed", seed);
  const image::AugmentOptions augment = parse_augment_options(fields.required_object("augment"));
  image::check_augment(augment);
  std::vector<Napi::Value> kept;
  const ResultMemory memory = parse_out(fields, kept);
  return start_picture_job(info.Env(), fields, info[1], [=](const auto& images, const train::View& view, WorkerPool& pool, const auto& poll) {
    at::Tensor views = memory.tensor({static_cast<int64_t>(images.size()), 3, size, size}, at::kFloat);
    float* const out = views.mutable_data_ptr<float>();
    prefer_huge_pages(out, views.nbytes());
    pool.run(views.size(0), [&](int64_t i, int) {
      Rng rng(derive_seed(seed, "augment", {static_cast<uint64_t>(i)}));
      image::augment_to(images[i], augment, view.normalisation, size, rng, out + i * 3 * size * size);
    }, [&poll](int64_t) { poll(); });
    return views;
  }, memory, kept);
}

}  // namespace seedbed::binding
