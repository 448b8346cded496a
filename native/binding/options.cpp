#include "options.h"

#include "lora_options.h"
#include "names.h"
#include "values.h"

namespace seedbed::binding {

namespace {

using namespace fractal;
using namespace train;

constexpr Names<Perturbation, 2> kPerturbation{{{"multiplicative", Perturbation::multiplicative}, {"additive", Perturbation::additive}}};
constexpr Names<Probabilities, 2> kProbabilities{{{"base", Probabilities::base}, {"perturbed", Probabilities::perturbed}}};
constexpr Names<Draw, 2> kDraw{{{"point", Draw::point}, {"patch", Draw::patch}}};
constexpr Names<Texture, 2> kTexture{{{"iid", Texture::iid}, {"paste", Texture::paste}}};
constexpr Names<Mask, 2> kMask{{{"random", Mask::random}, {"fill", Mask::fill}}};
constexpr Names<fractal::Precision, 2> kRenderPrecision{{{"fast", fractal::Precision::fast}, {"exact", fractal::Precision::exact}}};
constexpr Names<Start, 2> kStart{{{"origin", Start::origin}, {"fixedPoint", Start::fixed_point}}};
constexpr Names<Aspect, 2> kAspect{{{"stretch", Aspect::stretch}, {"keep", Aspect::keep}}};
constexpr Names<fractal::Device, 3> kRenderDevice{{{"auto", fractal::Device::automatic}, {"cpu", fractal::Device::cpu}, {"cuda", fractal::Device::cuda}}};
constexpr Names<OptimizerKind, 2> kOptimizer{{{"adamw", OptimizerKind::adamw}, {"sgd", OptimizerKind::sgd}}};
constexpr Names<nn::Precision, 2> kTrainPrecision{{{"float32", nn::Precision::float32}, {"bfloat16", nn::Precision::bfloat16}}};
constexpr Names<Keep, 2> kKeep{{{"last", Keep::last}, {"best", Keep::best}}};

constexpr Names<image::Filter, 3> kFilter{{{"bilinear", image::Filter::bilinear}, {"bicubic", image::Filter::bicubic}, {"lanczos", image::Filter::lanczos}}};
constexpr Names<image::AugmentOp, image::kAugmentOps> kAugmentOp{{
    {"AutoContrast", image::AugmentOp::auto_contrast},
    {"Equalize", image::AugmentOp::equalize},
    {"Invert", image::AugmentOp::invert},
    {"Rotate", image::AugmentOp::rotate},
    {"PosterizeIncreasing", image::AugmentOp::posterize_increasing},
    {"SolarizeIncreasing", image::AugmentOp::solarize_increasing},
    {"SolarizeAdd", image::AugmentOp::solarize_add},
    {"ColorIncreasing", image::AugmentOp::colour_increasing},
    {"ContrastIncreasing", image::AugmentOp::contrast_increasing},
    {"BrightnessIncreasing", image::AugmentOp::brightness_increasing},
    {"SharpnessIncreasing", image::AugmentOp::sharpness_increasing},
    {"ShearX", image::AugmentOp::shear_x},
    {"ShearY", image::AugmentOp::shear_y},
    {"TranslateXRel", image::AugmentOp::translate_x},
    {"TranslateYRel", image::AugmentOp::translate_y},
}};

void read_three(const Fields& fields, std::string_view name, std::array<float, 3>& target) {
  std::vector<double> values(target.begin(), target.end());
  fields.read(name, values);
  expect(values.size() == 3, "Expected 3 numbers for {}, received {}", fields.path_of(name), values.size());
  for (size_t i = 0; i < 3; ++i) target[i] = static_cast<float>(values[i]);
}

}  // namespace

std::vector<AffineMap> parse_affine(const Napi::Value& value, const std::string& path) {
  std::vector<AffineMap> affine;
  for (const Napi::Value& map : elements(value, path)) {
    AffineMap& out = affine.emplace_back();
    const auto rows = elements(map, path);
    expect(rows.size() == 2, "Expected 2 rows (a b e, c d f) in each map of {}, received {}", path, rows.size());
    for (size_t r = 0; r < 2; ++r) {
      const auto row = elements(rows[r], path);
      expect(row.size() == 3, "Expected 3 numbers in each row of {}, received {}", path, row.size());
      for (size_t c = 0; c < 3; ++c) {
        expect(row[c].IsNumber(), "Expected numbers in {}", path);
        out[3 * r + c] = row[c].As<Napi::Number>().DoubleValue();
      }
    }
  }
  return affine;
}

Ifs parse_ifs(const Fields& fields) {
  Ifs ifs;
  ifs.affine = parse_affine(fields.required("affine"), fields.path_of("affine"));
  fields.read("weights", ifs.weights);
  check_ifs(ifs);
  return ifs;
}

SampleOptions parse_sample_options(const Fields& fields) {
  SampleOptions o;
  fields.read("maps", o.maps).read("sigma_factor", o.sigma_factor).read("half_width", o.half_width);
  return o;
}

PerturbOptions parse_perturb_options(const Fields& fields) {
  PerturbOptions o;
  fields.read("perturbation", names(kPerturbation), o.kind).read("delta", o.delta).read("probabilities", names(kProbabilities), o.probabilities);
  return o;
}

RenderOptions parse_render_options(const Fields& fields) {
  RenderOptions o;
  fields.read("size", o.size).read("padding", o.padding).read("points", o.points).read("index_seed", o.index_seed).read("value", o.value);
  fields.read("colour", o.colour).read("draw", names(kDraw), o.draw).read("texture", names(kTexture), o.texture).read("mask", names(kMask), o.mask);
  std::string code;  // of tests
  fields.read("precision", names(kRenderPrecision), o.precision).read("start", names(kStart), o.start).read("aspect", names(kAspect), o.aspect).read("kernel", code);
  o.code = vector_code(code);
  return o;
}

fractal::Device parse_render_device(const Fields& fields) {
  auto device = fractal::Device::cpu;
  fields.read("device", names(kRenderDevice), device);
  return device;
}

FamilyOptions parse_family_options(const Fields& fields) {
  FamilyOptions o;
  o.sample = parse_sample_options(fields);
  o.perturb = parse_perturb_options(fields);
  o.render = parse_render_options(fields);
  fields.read("count", o.count).read("fill_threshold", o.fill_threshold).read("probes", o.probes).read("probe_share", o.probe_share);
  fields.read("max_base_tries", o.max_base_tries).read("max_image_tries", o.max_image_tries).read("seed", o.seed);
  return o;
}

View parse_view(const Fields& fields) {
  View view;
  fields.read("crop_share", view.crop_share);
  read_three(fields, "mean", view.normalisation.mean);
  read_three(fields, "std", view.normalisation.std);
  return view;
}

image::AugmentOptions parse_augment_options(const Fields& fields) {
  image::AugmentOptions o;
  fields.read("min_scale", o.min_scale).read("max_scale", o.max_scale).read("min_ratio", o.min_ratio).read("max_ratio", o.max_ratio);
  fields.read("flip", o.flip).read("flip_vertical", o.flip_vertical).read("colourise", o.colourise);
  if (const auto ra = fields.object("rand_augment")) {
    image::RandAugmentOptions& r = o.rand_augment.emplace();
    ra->read("ops", r.ops).read("magnitude", r.magnitude).read("magnitude_std", r.magnitude_std).read("probability", r.probability).read("fill", r.fill);
  }
  if (const auto re = fields.object("random_erasing")) {
    image::RandomErasingOptions& e = o.random_erasing.emplace();
    re->read("probability", e.probability).read("min_area", e.min_area).read("max_area", e.max_area).read("min_aspect", e.min_aspect);
  }
  return o;
}

image::AugmentOp parse_augment_op(const Fields& fields) {
  auto op = image::AugmentOp::auto_contrast;
  fields.read("op", names(kAugmentOp), op);
  return op;
}

image::Filter parse_filter(const Fields& fields) {
  auto filter = image::Filter::bicubic;
  fields.read("filter", names(kFilter), filter);
  return filter;
}

Mix parse_mix(const Fields& fields) {
  Mix mix;
  fields.read("lambda", mix.lambda).read("cutmix", mix.cutmix);
  fields.read("top", mix.top).read("bottom", mix.bottom).read("left", mix.left).read("right", mix.right);
  return mix;
}

MixupOptions parse_mixup_options(const Fields& fields) {
  MixupOptions o;
  fields.read("mixup_alpha", o.mixup_alpha).read("cutmix_alpha", o.cutmix_alpha).read("probability", o.probability).read("switch_to_cutmix", o.switch_to_cutmix);
  return o;
}

OptimizerOptions parse_optimizer_options(const Fields& fields, OptimizerOptions o) {
  fields.read("type", names(kOptimizer), o.kind).read("weight_decay", o.weight_decay).read("beta1", o.beta1).read("beta2", o.beta2);
  fields.read("eps", o.eps).read("momentum", o.momentum).read("nesterov", o.nesterov);
  return o;
}

LrSchedule parse_lr_schedule(const Fields& fields, LrSchedule s) {
  fields.read("lr", s.base).read("warmup_lr", s.warmup).read("min_lr", s.min).read("warmup_steps", s.warmup_steps).read("steps", s.total_steps);
  fields.read("warmup_prefix", s.warmup_prefix).read("constant_lr", s.constant);
  return s;
}

nn::Precision parse_train_precision(const Fields& fields) {
  nn::Precision precision = nn::Precision::float32;
  fields.read("precision", names(kTrainPrecision), precision);
  return precision;
}

UpdateOptions parse_update_options(const Fields& fields, UpdateOptions o) {
  fields.read("steps", o.steps).read("clip_norm", o.clip_norm).read("average_decay", o.average_decay);
  o.precision = parse_train_precision(fields);
  fields.read("checkpoint", o.checkpoint).read("checkpoint_every", o.checkpoint_every).read("resume", o.resume);
  o.schedule = parse_lr_schedule(fields, o.schedule);
  if (const auto optimizer = fields.object("optimizer")) o.optimizer = parse_optimizer_options(*optimizer, o.optimizer);
  return o;
}

TrainOptions parse_train_options(const Fields& fields) {
  TrainOptions o{.updates = parse_update_options(fields)};
  fields.read("batch_size", o.batch_size).read("shard_size", o.shard_size).read("label_smoothing", o.label_smoothing).read("real_weight", o.real_weight);
  fields.read("seed", o.seed).read("evaluate_every", o.evaluate_every).read("keep", names(kKeep), o.keep);
  o.view = parse_view(fields);
  o.adapter = parse_classifier_adapter(fields);
  fields.read("frozen_stages", o.freeze.stages).read("frozen_backbone", o.freeze.backbone);
  if (const auto mixup = fields.object("mixup")) o.mixup = parse_mixup_options(*mixup);
  if (const auto augment = fields.object("augment")) o.augment = parse_augment_options(*augment);
  return o;
}

int parse_threads(const Fields& fields) {
  int threads = 1;
  fields.read("threads", threads);
  return threads;
}

Napi::Object emit_enum_names(Napi::Env env) {
  return emit_object(env, {{"perturbation", emit_names(env, kPerturbation)},
                           {"probabilities", emit_names(env, kProbabilities)},
                           {"draw", emit_names(env, kDraw)},
                           {"texture", emit_names(env, kTexture)},
                           {"mask", emit_names(env, kMask)},
                           {"renderPrecision", emit_names(env, kRenderPrecision)},
                           {"start", emit_names(env, kStart)},
                           {"aspect", emit_names(env, kAspect)},
                           {"renderDevice", emit_names(env, kRenderDevice)},
                           {"optimizer", emit_names(env, kOptimizer)},
                           {"trainPrecision", emit_names(env, kTrainPrecision)},
                           {"keep", emit_names(env, kKeep)},
                           {"filter", emit_names(env, kFilter)},
                           {"augmentOp", emit_names(env, kAugmentOp)}});
}

}  // namespace seedbed::binding
