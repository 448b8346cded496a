#pragma once

#include <napi.h>

namespace seedbed::binding {

Napi::Value system_info(const Napi::CallbackInfo& info);        // () -> versions, vector code, CUDA
Napi::Value name_tables(const Napi::CallbackInfo& info);        // () -> error codes, models, enums
Napi::Value measure_matmul(const Napi::CallbackInfo& info);     // (dtype) -> GFLOP/s of one core
Napi::Value cancel_job(const Napi::CallbackInfo& info);         // (job)
Napi::Value stop_jobs(const Napi::CallbackInfo& info);          // () before the process exits
Napi::Value dispose_handle(const Napi::CallbackInfo& info);     // (handle)
Napi::Value read_safetensors(const Napi::CallbackInfo& info);   // (path) -> { tensors, metadata }
Napi::Value write_safetensors(const Napi::CallbackInfo& info);  // (path, tensors, metadata)

}  // namespace seedbed::binding
