#include "pretrain_binding.h"

#include "diffusion_options.h"
#include "environment.h"
#include "nn/autoencoder_kl.h"
#include "options.h"
#include "pretrain_options.h"
#include "tensor/scratch.h"
#include "train_events.h"
#include "values.h"

namespace seedbed::binding {

namespace {

using EmitEvaluation = Napi::Value (*)(Napi::Env, const train::EvaluationReport&);

// Events of a training run, and its cancellation.
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

Napi::Value emit_result(Napi::Env env, const train::TrainResult& result, EmitEvaluation emit_evaluation) {
  return emit_object(env, {{"steps", result.steps},
                           {"samples", result.samples},
                           {"losses", emit_losses(env, result)},
                           {"evaluations", emit_list(env, result.evaluations, [&](const auto& r) { return emit_evaluation(env, r); })}});
}

Napi::Value emit_quality(Napi::Env env, const train::EvaluationReport& r) {
  return emit_object(env, {{"type", std::string("evaluation")}, {"step", r.step}, {"error", r.loss}, {"psnr", r.accuracy}});
}

Napi::Value emit_numbers(Napi::Env env, const std::vector<double>& numbers) {
  return emit_list(env, numbers, [env](double value) { return Napi::Number::New(env, value); });
}

// Weights of a diffusers folder under the names of `network`; none when no files are named.
NamedTensors read_start(const diffusion::WeightFiles& start, const nn::Module& network) {
  return start.files.empty() ? NamedTensors() : diffusion::from_diffusers(diffusion::read_weights(start.files), network.named_parameters());
}

// Tensors over the caller's memory, and what must stay for them.
class SharedTensors {
 public:
  explicit SharedTensors(const Fields& fields) : fields_(fields) {}

  at::Tensor required(std::string_view name) { return share(fields_.required(name), name); }
  at::Tensor optional(std::string_view name) {
    const auto value = fields_.optional(name);
    return value ? share(*value, name) : at::Tensor();
  }
  const std::vector<Napi::Value>& kept() const { return kept_; }

 private:
  at::Tensor share(const Napi::Value& value, std::string_view name) {
    kept_.push_back(Fields(value, fields_.path_of(name)).required("data"));
    return share_tensor(value, fields_.path_of(name));
  }

  const Fields& fields_;
  std::vector<Napi::Value> kept_;
};

}  // namespace

Napi::Value train_autoencoder(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  const nn::VaeConfig config = parse_vae_config(fields.required_object("config"));
  const auto options = std::make_shared<train::AutoencoderOptions>(parse_autoencoder_options(fields));
  const diffusion::WeightFiles start = parse_weight_files(fields);
  SharedTensors shared(fields);
  const at::Tensor pictures = shared.required("pictures"), validation = shared.optional("validation");
  const int threads = parse_threads(fields);
  const auto work = [=](JobContext& context) -> Emit {
    WorkerPool pool(threads);
    const ScratchScope scratch;
    options->initial = read_start(start, nn::AutoencoderKl(config));
    const auto result = std::make_shared<train::AutoencoderResult>(
        train::train_autoencoder(config, pictures, validation, *options, pool, report_to(context, options->updates.steps, emit_quality)));
    return [result](Napi::Env env) {
      return emit_object(env, {{"training", emit_result(env, result->train, emit_quality)},
                               {"weights", emit_named_tensors(env, result->weights)},
                               {"mean", emit_numbers(env, result->mean)},
                               {"deviation", emit_numbers(env, result->deviation)}});
    };
  };
  return Environment::of(info.Env()).jobs.start(info.Env(), Lane::training, parse_listener(info[1]), work, shared.kept());
}

}  // namespace seedbed::binding
