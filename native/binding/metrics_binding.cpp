#include "metrics_binding.h"

#include <ATen/Parallel.h>

#include <functional>

#include "environment.h"
#include "handle.h"
#include "metrics/distances.h"
#include "metrics/judge.h"
#include "options.h"
#include "values.h"

namespace seedbed::binding {

namespace {

struct Judge {
  static constexpr const char* kTypeName = "judge";
  static constexpr napi_type_tag kTypeTag{0x51c8e30b7d264f9a, 0xb2d96a1e04f8c735};

  nn::SqueezeNet network;
};

// Runs `compute` as a job with the threads of the options.
Napi::Value start(const Napi::CallbackInfo& info, const Fields& fields, const std::function<Emit()>& compute) {
  const int threads = parse_threads(fields);
  return Environment::of(info.Env()).jobs.start(info.Env(), Lane::compute, parse_listener(info[1]), [=](JobContext& context) -> Emit {
    context.throw_if_cancelled();
    at::set_num_threads(threads);
    return compute();
  });
}

at::Tensor features_of(const Fields& fields, std::string_view name) { return parse_tensor(fields.required(name), fields.path_of(name)); }

}  // namespace

Napi::Value load_judge(const Napi::CallbackInfo& info) {
  std::string path;
  Fields(info[0], "options").read("path", path);
  const auto judge = std::make_shared<Judge>();
  const SafetensorsFile file(path);
  NamedTensors weights;
  for (const std::string& name : file.names()) weights.emplace_back(name, file.tensor(name));
  nn::adopt_parameters(judge->network, weights);
  judge->network.prepare({}, "");
  return Handle<Judge>::make(info.Env(), judge, judge->network.parameter_count() * 4);
}

Napi::Value judge_pictures(const Napi::CallbackInfo& info) {
  const auto judge = Handle<Judge>::get(info[0]);
  const Fields fields(info[1], "options");
  const Napi::Value given = fields.required("pictures");
  const at::Tensor pictures = share_tensor(given, "pictures");
  const int threads = parse_threads(fields);
  const auto work = [=](JobContext& context) -> Emit {
    WorkerPool pool(threads);
    const auto report = [&context, total = pictures.size(0)](int64_t done) {
      context.progress([done, total](Napi::Env env) { return emit_object(env, {{"type", std::string("image")}, {"done", done}, {"total", total}}); });
      context.throw_if_cancelled();
    };
    const nn::SqueezeNetOutput seen = metrics::judge(judge->network, pictures, pool, report);
    return [seen](Napi::Env env) { return emit_object(env, {{"features", emit_tensor(env, seen.features)}, {"logits", emit_tensor(env, seen.logits)}}); };
  };
  return Environment::of(info.Env()).jobs.start(info.Env(), Lane::compute, parse_listener(info[2]), work, {Fields(given, "pictures").required("data")});
}

Napi::Value frechet_distance(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  return start(info, fields, [a = features_of(fields, "a"), b = features_of(fields, "b")]() -> Emit {
    const double distance = metrics::frechet_distance(a, b);
    return [distance](Napi::Env env) { return Napi::Number::New(env, distance); };
  });
}

Napi::Value kernel_distance(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  int64_t degree = 3;
  fields.read("degree", degree);
  return start(info, fields, [=, a = features_of(fields, "a"), b = features_of(fields, "b")]() -> Emit {
    const metrics::KernelDistance found = metrics::kernel_distance(a, b, degree);
    return [found](Napi::Env env) { return emit_object(env, {{"distance", found.distance}, {"standardError", found.standard_error}}); };
  });
}

Napi::Value precision_recall(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  int64_t k = 3;
  fields.read("k", k);
  return start(info, fields, [k, real = features_of(fields, "real"), made = features_of(fields, "made")]() -> Emit {
    const metrics::PrecisionRecall found = metrics::precision_recall(real, made, k);
    return [found](Napi::Env env) { return emit_object(env, {{"precision", found.precision}, {"recall", found.recall}}); };
  });
}

Napi::Value nearest_rows(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  int64_t k = 1;
  bool unit = false;
  fields.read("k", k).read("unit", unit);
  return start(info, fields, [=, queries = features_of(fields, "queries"), gallery = features_of(fields, "gallery")]() -> Emit {
    const metrics::Neighbours found = metrics::nearest(queries, gallery, k, unit);
    return [found](Napi::Env env) { return emit_object(env, {{"places", emit_tensor(env, found.places)}, {"distances", emit_tensor(env, found.distances)}}); };
  });
}

Napi::Value rank_rows(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  bool unit = false;
  fields.read("unit", unit);
  return start(info, fields, [=, queries = features_of(fields, "queries"), gallery = features_of(fields, "gallery"), wanted = features_of(fields, "wanted")]() -> Emit {
    const at::Tensor ranks = metrics::ranks(queries, gallery, wanted, unit);
    return [ranks](Napi::Env env) { return emit_tensor(env, ranks); };
  });
}

bool dispose_judge(const Napi::Value& value) { return Handle<Judge>::dispose(value); }

}  // namespace seedbed::binding
