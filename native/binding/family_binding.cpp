#include "family_binding.h"

#include "environment.h"
#include "family_options.h"
#include "fractal/family.h"
#include "fractal/image_copy.h"
#include "fractal_values.h"
#include "options.h"
#include "values.h"

namespace seedbed::binding {

namespace {

Napi::Value emit_contour_class(Napi::Env env, const fractal::ContourClass& c) {
  const std::array<int, 2> frequencies{c.frequency_1, c.frequency_2};
  return emit_object(env, {{"set", contour_set_name(c.set)},
                           {"vertices", int64_t{c.vertices}},
                           {"lines", int64_t{c.lines}},
                           {"coefficient", c.coefficient},
                           {"width", c.width},
                           {"frequencies", emit_list(env, frequencies, [env](int f) { return Napi::Number::New(env, f); })},
                           {"seed", c.seed}});
}

}  // namespace

Napi::Value search_systems(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  const auto options = parse_search_options(fields);
  const int threads = parse_threads(fields);
  return Environment::of(info.Env()).jobs.start(info.Env(), Lane::compute, parse_listener(info[1]), [=](JobContext& context) -> Emit {
    WorkerPool pool(threads);
    const fractal::Search search = fractal::search_systems(options, pool, report_progress(context, "system", options.count));
    return [search](Napi::Env env) {
      return emit_object(env, {{"systems", emit_systems(env, search.systems)}, {"fills", emit_numbers(env, search.fills)}, {"tries", search.tries}});
    };
  });
}

Napi::Value fractal_instances(const Napi::CallbackInfo& info) {
  const Fields fields(info[1], "options");
  double width = 0.4;
  int64_t patterns = 10;
  uint64_t seed = 0;
  fields.read("width", width).read("patterns", patterns).read("seed", seed);
  const std::vector<fractal::Ifs> systems = fractal::weighted_copies(parse_ifs(Fields(info[0], "ifs")), width);
  std::vector<uint64_t> seeds;
  for (int64_t pattern = 0; pattern < patterns; ++pattern) seeds.push_back(fractal::texture_seed(seed, pattern));
  return emit_object(info.Env(), {{"systems", emit_systems(info.Env(), systems)}, {"textureSeeds", emit_seeds(info.Env(), seeds)}});
}

Napi::Value draw_contour_classes(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  int64_t first = 0, count = 1000;
  uint64_t seed = 0;
  fields.read("first", first).read("count", count).read("seed", seed);
  const auto classes = fractal::draw_contour_classes(parse_contour_set(fields), first, count, seed);
  return emit_list(info.Env(), classes, [&](const auto& c) { return emit_contour_class(info.Env(), c); });
}

Napi::Value draw_contours(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  const auto classes = parse_contour_classes(fields);
  const auto options = parse_contour_options(fields);
  const int threads = parse_threads(fields);
  return Environment::of(info.Env()).jobs.start(info.Env(), Lane::compute, parse_listener(info[1]), [=](JobContext& context) -> Emit {
    WorkerPool pool(threads);
    const int64_t total = static_cast<int64_t>(classes.size()) * options.instances;
    const at::Tensor images = fractal::draw_contours(classes, options, pool, report_progress(context, "image", total));
    return [images](Napi::Env env) { return emit_tensor(env, images); };
  });
}

Napi::Value draw_image_copy(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  fractal::CopyOptions options;
  fields.read("delta", options.delta).read("copy", options.copy).read("seed", options.seed);
  const image::Image square = parse_image(fields.required_object("image"));
  return Environment::of(info.Env()).jobs.start(info.Env(), Lane::compute, parse_listener(info[1]), [=](JobContext&) -> Emit {
    const image::Image copy = fractal::draw_image_copy(square, options);
    return [copy](Napi::Env env) { return emit_image(env, copy); };
  });
}

Napi::Value draw_picture(const Napi::CallbackInfo& info) {
  const auto ifs = parse_ifs(Fields(info[0], "ifs"));
  const Fields fields(info[1], "options");
  const auto options = parse_fractal_picture_options(fields);
  const int threads = parse_threads(fields);
  return Environment::of(info.Env()).jobs.start(info.Env(), Lane::compute, parse_listener(info[2]), [=](JobContext& context) -> Emit {
    WorkerPool pool(threads);
    const at::Tensor image = fractal::draw_picture(ifs, options, pool, progress_of(context, "part"));
    return [image](Napi::Env env) { return emit_tensor(env, image); };
  });
}

}  // namespace seedbed::binding
