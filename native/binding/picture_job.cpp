#include "picture_job.h"

#include "environment.h"
#include "options.h"

namespace seedbed::binding {

Napi::Value start_picture_job(Napi::Env env, const Fields& fields, const Napi::Value& listener, PictureWork work, const ResultMemory& memory, const std::vector<Napi::Value>& kept) {
  SharedImages images = share_images(fields, "images");
  images.kept.insert(images.kept.end(), kept.begin(), kept.end());
  const train::View view = parse_view(fields);
  const int threads = parse_threads(fields);
  return Environment::of(env).jobs.start(env, Lane::compute, parse_listener(listener), [=, views = std::move(images.views), work = std::move(work)](JobContext& context) -> Emit {
    WorkerPool pool(threads);
    const at::Tensor result = work(views, view, pool, [&context] { context.throw_if_cancelled(); });
    return [result, memory](Napi::Env env) { return memory.emit(env, result); };
  }, images.kept);
}

Napi::Value start_picture_job(const Napi::CallbackInfo& info, PictureWork work) { return start_picture_job(info.Env(), Fields(info[1], "options"), info[2], std::move(work)); }

}  // namespace seedbed::binding
