#pragma once

#include <napi.h>

#include <functional>
#include <vector>

#include "fields.h"
#include "parallel/worker_pool.h"
#include "train/evaluate.h"
#include "values.h"

namespace seedbed::binding {

// What is computed from pictures; `poll` may throw `Cancelled`.
using PictureWork = std::function<at::Tensor(const std::vector<image::ImageView>& images, const train::View& view, WorkerPool& pool, const std::function<void()>& poll)>;

// A job whose options hold images, read where the caller holds them, view and threads, and whose result is a tensor.
// `memory` and `kept`: where the work puts its result, as `parse_out` gives them.
Napi::Value start_picture_job(Napi::Env env, const Fields& options, const Napi::Value& listener, PictureWork work, const ResultMemory& memory = {}, const std::vector<Napi::Value>& kept = {});
// The same of a call (handle, options, listener).
Napi::Value start_picture_job(const Napi::CallbackInfo& info, PictureWork work);

}  // namespace seedbed::binding
