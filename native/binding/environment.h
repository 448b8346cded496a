#pragma once

#include <napi.h>

#include "job.h"

namespace seedbed::binding {

// State of one environment: the main thread and each worker thread have their own.
struct Environment {
  explicit Environment(Napi::Env env) : jobs(env) {}

  static Environment& of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

  Jobs jobs;
};

}  // namespace seedbed::binding
