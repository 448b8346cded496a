#pragma once

#include <napi.h>

#include <chrono>

#include "fractal/ifs.h"
#include "job.h"
#include "values.h"

// Iterated function systems and progress, for the jobs that draw pictures.

namespace seedbed::binding {

Napi::Value emit_numbers(Napi::Env env, const std::vector<double>& numbers);
Napi::Value emit_ifs(Napi::Env env, const fractal::Ifs& ifs);
Napi::Value emit_systems(Napi::Env env, const std::vector<fractal::Ifs>& systems);
Napi::Value emit_seeds(Napi::Env env, const std::vector<uint64_t>& seeds);

inline constexpr auto kReportEvery = std::chrono::milliseconds(50);

// Tells now and then how many things are done, and of the last one: { type, done, total }.
inline auto progress_of(JobContext& context, const char* type) {
  return [&context, type, last = std::chrono::steady_clock::now()](int64_t done, int64_t total) mutable {
    context.throw_if_cancelled();
    const auto now = std::chrono::steady_clock::now();
    if (now - last < kReportEvery && done != total) return;
    last = now;
    context.progress([=](Napi::Env env) { return emit_object(env, {{"type", std::string(type)}, {"done", done}, {"total", total}}); });
  };
}

// The same where the total is known before.
inline auto report_progress(JobContext& context, const char* type, int64_t total) {
  return [report = progress_of(context, type), total](int64_t done) mutable { report(done, total); };
}

}  // namespace seedbed::binding
