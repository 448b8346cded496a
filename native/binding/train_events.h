#pragma once

#include "job.h"
#include "train/loop.h"

// What training runs tell JavaScript.

namespace seedbed::binding {

Emit step_event(const train::StepReport& report, int64_t steps);
Emit checkpoint_event(int64_t step);
// Pictures whose latents are computed before the first step.
Emit encode_event(int64_t done, int64_t total);
Napi::Value emit_losses(Napi::Env env, const train::TrainResult& result);

}  // namespace seedbed::binding
