#pragma once

#include "job.h"
#include "train/loop.h"

// What training runs tell JavaScript.

namespace seedbed::binding {

Emit step_event(const train::StepReport& report, int64_t steps);
Emit checkpoint_event(int64_t step);
Napi::Value emit_losses(Napi::Env env, const train::TrainResult& result);

}  // namespace seedbed::binding
