#include "fractal_binding.h"

#include <ATen/ops/from_blob.h>

#include "environment.h"
#include "family_options.h"
#include "fractal/instances.h"
#include "fractal/pictures.h"
#include "fractal_values.h"
#include "image_set.h"
#include "options.h"
#include "values.h"

namespace seedbed::binding {

namespace {

using fractal::Ifs;

uint64_t parse_seed(const Napi::Value& options) {
  uint64_t seed = 0;
  Fields(options, "options").read("seed", seed);
  return seed;
}

std::vector<uint64_t> parse_seeds(const Fields& fields, size_t count) {
  std::vector<uint64_t> seeds;
  for (const Napi::Value& value : elements(fields.required("texture_seeds"), fields.path_of("texture_seeds"))) {
    bool lossless = false;
    expect(value.IsBigInt(), "Expected BigInts for {}", fields.path_of("texture_seeds"));
    seeds.push_back(value.As<Napi::BigInt>().Uint64Value(&lossless));
  }
  expect(seeds.size() == count, "Expected {} texture seeds, one per system, received {}", count, seeds.size());
  return seeds;
}

std::vector<Ifs> parse_systems(const Fields& fields) {
  std::vector<Ifs> systems;
  for (const Fields& system : fields.objects("systems")) systems.push_back(parse_ifs(system));
  return systems;
}

}  // namespace

Napi::Value sample_ifs(const Napi::CallbackInfo& info) {
  Rng rng(derive_seed(parse_seed(info[0]), "ifs"));
  return emit_ifs(info.Env(), fractal::sample_ifs(parse_sample_options(Fields(info[0], "options")), rng));
}

Napi::Value describe_ifs(const Napi::CallbackInfo& info) {
  const Ifs ifs = parse_ifs(Fields(info[0], "ifs"));
  const auto pair = [&](const std::array<double, 2>& s) { return emit_numbers(info.Env(), {s[0], s[1]}); };
  return emit_object(info.Env(), {{"sigmaFactor", fractal::sigma_factor(ifs)}, {"singularValues", emit_list(info.Env(), fractal::singular_values(ifs), pair)}});
}

Napi::Value perturb_ifs(const Napi::CallbackInfo& info) {
  Rng rng(derive_seed(parse_seed(info[1]), "perturb"));
  return emit_ifs(info.Env(), fractal::perturb_ifs(parse_ifs(Fields(info[0], "ifs")), parse_perturb_options(Fields(info[1], "options")), rng));
}

Napi::Value weigh_ifs(const Napi::CallbackInfo& info) { return emit_numbers(info.Env(), fractal::weights_by_determinant(parse_affine(info[0], "affine"))); }

Napi::Value map_sequence(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  std::vector<double> weights;
  int64_t points = 0;
  uint32_t seed = 100;
  fields.read("weights", weights).read("points", points).read("index_seed", seed);
  const fractal::IndexSequence sequence(fractal::mersenne_doubles(points - 1, seed), weights, points);
  return emit_tensor(info.Env(), at::from_blob(const_cast<uint8_t*>(sequence.steps.data()), {points - 1}, at::kByte).clone());
}

Napi::Value make_family(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  const auto options = parse_family_options(fields);
  const auto base = fields.object("base");
  const std::optional<Ifs> base_ifs = base ? std::optional(parse_ifs(*base)) : std::nullopt;
  const int threads = parse_threads(fields);
  return Environment::of(info.Env()).jobs.start(info.Env(), Lane::compute, parse_listener(info[1]), [=](JobContext& context) -> Emit {
    WorkerPool pool(threads);
    const auto report = report_progress(context, "image", options.count);
    const fractal::Family family = base_ifs ? fractal::make_family_of(*base_ifs, options, pool, report) : fractal::make_family(options, pool, report);
    return [family](Napi::Env env) {
      return emit_object(env, {{"base", emit_ifs(env, family.base)},
                               {"copies", emit_systems(env, family.copies)},
                               {"textureSeeds", emit_seeds(env, family.texture_seeds)},
                               {"baseTries", int64_t{family.base_tries}},
                               {"imageTries", family.image_tries}});
    };
  });
}

Napi::Value render_fractals(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  const std::vector<Ifs> systems = parse_systems(fields);
  const std::vector<uint64_t> seeds = parse_seeds(fields, systems.size());
  const std::vector<fractal::Flip> flips = parse_flips(fields);
  const auto options = parse_render_options(fields);
  const auto device = parse_render_device(fields);
  const int threads = parse_threads(fields);
  std::vector<Napi::Value> kept;
  const ResultMemory memory = parse_out(fields, kept);
  return Environment::of(info.Env()).jobs.start(info.Env(), Lane::compute, parse_listener(info[1]), [=](JobContext& context) -> Emit {
    WorkerPool pool(threads);
    const fractal::Renderer renderer(options);
    at::Tensor images = memory.tensor(renderer.shape(static_cast<int64_t>(systems.size())), at::kByte);
    fractal::render_on(device, renderer, systems, seeds, pool, images, report_progress(context, "image", static_cast<int64_t>(systems.size())));
    if (!flips.empty()) fractal::flip_pictures(images, flips);
    return [images, memory](Napi::Env env) { return memory.emit(env, images); };
  }, kept);
}

Napi::Value fractal_pictures(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  const std::vector<Ifs> systems = parse_systems(fields);
  const std::vector<uint64_t> seeds = parse_seeds(fields, systems.size());
  const std::vector<fractal::Flip> flips = parse_flips(fields);
  std::vector<int64_t> labels;
  int64_t classes = 0;
  fields.read("labels", labels).read("classes", classes);
  expect(labels.size() == systems.size() && flips.size() == systems.size(), "Expected a label and a flip for each of {} systems, received {} and {}", systems.size(), labels.size(), flips.size());
  std::vector<fractal::Instance> instances;
  for (size_t i = 0; i < systems.size(); ++i) instances.push_back({systems[i], seeds[i], flips[i], labels[i]});
  const auto options = parse_pictures_options(fields);
  const int threads = parse_threads(fields);
  return Environment::of(info.Env()).jobs.start(info.Env(), Lane::compute, parse_listener(info[1]), [=](JobContext& context) -> Emit {
    WorkerPool pool(threads);
    const auto pictures = std::make_shared<fractal::FractalPictures>(instances, classes, options, pool, report_progress(context, "image", static_cast<int64_t>(instances.size())));
    return [pictures](Napi::Env env) { return emit_image_set(env, pictures); };
  });
}

}  // namespace seedbed::binding
