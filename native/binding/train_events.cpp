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

}  // namespace seedbed::binding
