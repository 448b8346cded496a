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

// An evaluation under the names of its stage.
using EmitEvaluation = Napi::Value (*)(Napi::Env, const train::EvaluationReport&);
// Events of a training run, and its cancellation. `emit_evaluation` may be null where nothing is evaluated.
train::TrainCallbacks report_to(JobContext& context, int64_t steps, EmitEvaluation emit_evaluation);
Napi::Object emit_result(Napi::Env env, const train::TrainResult& result, EmitEvaluation emit_evaluation);

}  // namespace seedbed::binding
