#include "sampler_binding.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <optional>

#include "environment.h"
#include "sampler_options.h"
#include "tensor/check.h"
#include "values.h"

namespace seedbed::binding {

namespace {

using namespace diffusion;

// What a sampling job begins with.
struct Start {
  SamplerOptions options;
  NoiseSchedule schedule;
  uint64_t seed = 0;
  std::vector<int64_t> shape;  // [B, C, h, w]
  std::optional<at::Tensor> latents, init;  // [B, C, h, w]: noise, and what it is added to
};

std::optional<at::Tensor> parse_optional_tensor(const Fields& fields, std::string_view name, std::vector<int64_t>& shape) {
  const auto value = fields.optional(name);
  if (!value) return std::nullopt;
  const at::Tensor tensor = parse_tensor(*value, fields.path_of(name));
  check_dtype(tensor, fields.path_of(name), at::kFloat);
  check_finite(tensor, fields.path_of(name));
  if (shape.empty()) shape = tensor.sizes().vec();
  if (tensor.sizes() != at::IntArrayRef(shape)) fail(ErrorCode::shape, "Expected latents, init and shape to be of one shape");
  return tensor;
}

Start parse_start(const Fields& fields) {
  Start start;
  start.options = parse_sampler_options(fields.required_object("sampler"));
  start.schedule = make_noise_schedule(parse_noise_schedule_options(fields.required_object("schedule")));
  fields.read("seed", start.seed).read("shape", start.shape);
  start.latents = parse_optional_tensor(fields, "latents", start.shape);
  start.init = parse_optional_tensor(fields, "init", start.shape);
  if (start.shape.size() != 4) fail(ErrorCode::shape, "Expected a shape of 4 sizes (batch, channels, height, width), received {}", start.shape.size());
  for (int64_t size : start.shape) check_range(size, "shape", int64_t{1}, int64_t{1} << 20);
  double strength = 1;
  fields.read("strength", strength);
  const SamplePlan steps = plan(start.options, start.schedule);  // throws here, in the caller's stack
  start.options.start = start.init ? start_of_strength(strength, step_count(start.options)) : 0;
  if (strength == 0) start.options.start = static_cast<int64_t>(steps.levels.size());  // pndm's list is longer than its steps
  return start;
}

// Noise, or `init` with the noise of the level where the run begins.
at::Tensor first_x(const Start& start, NoiseSource& noise) {
  const SamplePlan steps = plan(start.options, start.schedule);
  if (start.init && start.options.start == static_cast<int64_t>(steps.levels.size())) return *start.init;
  const at::Tensor eps = start.latents ? *start.latents : noise.draw(start.shape[1], start.shape[2], start.shape[3]);
  return start.init ? add_noise(*start.init, eps, steps.levels[start.options.start]) : eps * steps.init_scale;
}

Predict ask_for(JobContext& context) {
  return [&context](const at::Tensor& x, const Level& level) {
    const at::Tensor output = context.ask([x, level](Napi::Env env) {
      return emit_object(env, {{"x", emit_tensor(env, x)}, {"timestep", level.timestep}, {"sigma", level.sigma}});
    });
    if (output.sizes() != x.sizes()) check_shape(output, "The tensor that predict returned", {x.size(0), x.size(1), x.size(2), x.size(3)});
    check_dtype(output, "The tensor that predict returned", at::kFloat);
    check_finite(output, "the tensor that predict returned");
    return output;
  };
}

OnStep report_to(JobContext& context) {
  return [&context](int64_t step, int64_t steps, const Level& level, const at::Tensor&, const at::Tensor&) {
    context.progress([=](Napi::Env env) { return emit_object(env, {{"type", std::string("step")}, {"step", step}, {"steps", steps}, {"sigma", level.sigma}}); });
    context.throw_if_cancelled();
  };
}

Napi::Value emit_level(Napi::Env env, const Level& level) {
  return emit_object(env, {{"timestep", level.timestep}, {"sigma", level.sigma}, {"alphaCumprod", level.alpha_cumprod}});
}

}  // namespace

Napi::Value plan_sampling(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Fields fields(info[0], "options");
  const NoiseSchedule schedule = make_noise_schedule(parse_noise_schedule_options(fields.required_object("schedule")));
  const SamplePlan steps = plan(parse_sampler_options(fields.required_object("sampler")), schedule);
  const auto emit = [env](const Level& level) { return emit_level(env, level); };
  return emit_object(env, {{"levels", emit_list(env, steps.levels, emit)},
                           {"targets", emit_list(env, steps.targets, emit)},
                           {"initScale", steps.init_scale},
                           {"alphasCumprod", emit_list(env, schedule.alphas_cumprod, [env](double a) { return Napi::Number::New(env, a); })}});
}

Napi::Value sample_latents(const Napi::CallbackInfo& info) {
  const Start start = parse_start(Fields(info[0], "options"));
  // A thread of its own: it waits for JavaScript, which may wait for other jobs.
  return Environment::of(info.Env()).jobs.start(info.Env(), Lane::own, parse_listener(info[1]), [start](JobContext& context) -> Emit {
    const c10::NoGradGuard no_grad;
    at::set_num_threads(1);
    NoiseSource noise(start.seed, start.shape[0]);
    const Denoise denoise = denoiser_of(ask_for(context), start.schedule.options.prediction);
    const at::Tensor latents = sample(start.options, start.schedule, first_x(start, noise), denoise, noise, report_to(context));
    check_finite(latents, "the latents");
    return [latents](Napi::Env env) { return emit_object(env, {{"latents", emit_tensor(env, latents)}}); };
  });
}

Napi::Value answer_job(const Napi::CallbackInfo& info) {
  expect(info[0].IsNumber() && info[1].IsNumber(), "Expected a job and the number of its question");
  const auto id = [&](int i) { return static_cast<uint64_t>(info[i].As<Napi::Number>().Int64Value()); };
  Environment::of(info.Env()).jobs.answer(id(0), id(1), parse_tensor(info[2], "the tensor that predict returned"));
  return info.Env().Undefined();
}

}  // namespace seedbed::binding
