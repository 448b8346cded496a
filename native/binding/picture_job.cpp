#include "picture_job.h"

#include "environment.h"
#include "options.h"
#include "values.h"

namespace seedbed::binding {

Napi::Value start_picture_job(const Napi::CallbackInfo& info, PictureWork work) {
  const Fields fields(info[1], "options");
  const auto images = std::make_shared<const std::vector<image::Image>>(parse_images(fields, "images"));
  const train::View view = parse_view(fields);
  const int threads = parse_threads(fields);
  return Environment::of(info.Env()).jobs.start(info.Env(), Lane::compute, parse_listener(info[2]), [=, work = std::move(work)](JobContext& context) -> Emit {
    WorkerPool pool(threads);
    const at::Tensor result = work(*images, view, pool, [&context] { context.throw_if_cancelled(); });
    return [result](Napi::Env env) { return emit_tensor(env, result); };
  });
}

}  // namespace seedbed::binding
