#include "picture_job.h"

#include "environment.h"
#include "options.h"
#include "values.h"

namespace seedbed::binding {

Napi::Value start_picture_job(Napi::Env env, const Fields& fields, const Napi::Value& listener, PictureWork work) {
  const auto images = std::make_shared<const std::vector<image::Image>>(parse_images(fields, "images"));
  const train::View view = parse_view(fields);
  const int threads = parse_threads(fields);
  return Environment::of(env).jobs.start(env, Lane::compute, parse_listener(listener), [=, work = std::move(work)](JobContext& context) -> Emit {
    WorkerPool pool(threads);
    const at::Tensor result = work(*images, view, pool, [&context] { context.throw_if_cancelled(); });
    return [result](Napi::Env env) { return emit_tensor(env, result); };
  });
}

Napi::Value start_picture_job(const Napi::CallbackInfo& info, PictureWork work) { return start_picture_job(info.Env(), Fields(info[1], "options"), info[2], std::move(work)); }

}  // namespace seedbed::binding
