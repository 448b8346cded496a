#pragma once

#include <napi.h>

namespace seedbed::binding {

Napi::Value plan_sampling(const Napi::CallbackInfo& info);   // (options) -> { levels, initScale, alphasCumprod }
Napi::Value sample_latents(const Napi::CallbackInfo& info);  // (options, listener) -> job that asks for predictions
Napi::Value answer_job(const Napi::CallbackInfo& info);      // (job, ask, tensor)

}  // namespace seedbed::binding
