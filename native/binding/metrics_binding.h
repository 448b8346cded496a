#pragma once

#include <napi.h>

namespace seedbed::binding {

Napi::Value load_judge(const Napi::CallbackInfo& info);      // ({ path }) -> handle
Napi::Value judge_pictures(const Napi::CallbackInfo& info);  // (handle, { pictures, threads }, listener) -> job of { features, logits }

// Disposes `value` if it is a judge.
bool dispose_judge(const Napi::Value& value);

// Jobs on features [N, D].
Napi::Value frechet_distance(const Napi::CallbackInfo& info);  // ({ a, b, threads }, listener) -> number
Napi::Value kernel_distance(const Napi::CallbackInfo& info);   // ({ a, b, degree, threads }, listener) -> { distance, standardError }
Napi::Value precision_recall(const Napi::CallbackInfo& info);  // ({ real, made, k, threads }, listener) -> { precision, recall }
Napi::Value nearest_rows(const Napi::CallbackInfo& info);      // ({ queries, gallery, k, unit, threads }, listener) -> { places, distances }
Napi::Value rank_rows(const Napi::CallbackInfo& info);         // ({ queries, gallery, wanted, unit, threads }, listener) -> ranks

}  // namespace seedbed::binding
