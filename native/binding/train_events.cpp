#include "train_events.h"

#include "values.h"

namespace seedbed::binding {

Emit step_event(const train::StepReport& r, int64_t steps) {
  return [=](Napi::Env env) { return emit_object(env, {{"type", std::string("step")}, {"step", r.step}, {"steps", steps}, {"loss", r.loss}, {"lr", r.lr}}); };
}

Emit checkpoint_event(int64_t step) {
  return [=](Napi::Env env) { return emit_object(env, {{"type", std::string("checkpoint")}, {"step", step}}); };
}

Emit encode_event(int64_t done, int64_t total) {
  return [=](Napi::Env env) { return emit_object(env, {{"type", std::string("encode")}, {"done", done}, {"total", total}}); };
}

Napi::Value emit_losses(Napi::Env env, const train::TrainResult& result) {
  return emit_list(env, result.history, [env](const train::StepReport& r) { return Napi::Number::New(env, r.loss); });
}

train::TrainCallbacks report_to(JobContext& context, int64_t steps, EmitEvaluation emit_evaluation) {
  train::TrainCallbacks callbacks;
  callbacks.on_step = [&context, steps](const train::StepReport& report) {
    context.progress(step_event(report, steps));
    context.throw_if_cancelled();
  };
  callbacks.on_evaluation = [&context, emit_evaluation](const train::EvaluationReport& report) { context.progress([=](Napi::Env env) { return emit_evaluation(env, report); }); };
  callbacks.on_checkpoint = [&context](int64_t step) { context.progress(checkpoint_event(step)); };
  return callbacks;
}

Napi::Object emit_result(Napi::Env env, const train::TrainResult& result, EmitEvaluation emit_evaluation) {
  return emit_object(env, {{"steps", result.steps},
                           {"samples", result.samples},
                           {"losses", emit_losses(env, result)},
                           {"evaluations", emit_list(env, result.evaluations, [&](const auto& r) { return emit_evaluation(env, r); })}});
}

}  // namespace seedbed::binding
