#include "sampler_options.h"

#include "names.h"

namespace seedbed::binding {

namespace {

using namespace diffusion;

constexpr Names<SamplerKind, 12> kSampler{{
    {"ddim", SamplerKind::ddim},
    {"ddpm", SamplerKind::ddpm},
    {"pndm", SamplerKind::pndm},
    {"euler", SamplerKind::euler},
    {"euler_ancestral", SamplerKind::euler_ancestral},
    {"heun", SamplerKind::heun},
    {"dpmpp_2m", SamplerKind::dpmpp_2m},
    {"dpmpp_2m_sde", SamplerKind::dpmpp_2m_sde},
    {"unipc", SamplerKind::unipc},
    {"lms", SamplerKind::lms},
    {"lcm", SamplerKind::lcm},
    {"kdpm2", SamplerKind::kdpm2},
}};
constexpr Names<SigmaSchedule, 3> kSigmas{{{"normal", SigmaSchedule::normal}, {"karras", SigmaSchedule::karras}, {"exponential", SigmaSchedule::exponential}}};
constexpr Names<DdpmVariance, 2> kDdpmVariance{{{"fixed_small", DdpmVariance::fixed_small}, {"fixed_large", DdpmVariance::fixed_large}}};
constexpr Names<DpmSolverType, 2> kDpmSolverType{{{"midpoint", DpmSolverType::midpoint}, {"heun", DpmSolverType::heun}}};
constexpr Names<UnipcSolverType, 2> kUnipcSolverType{{{"bh1", UnipcSolverType::bh1}, {"bh2", UnipcSolverType::bh2}}};
constexpr Names<BetaSchedule, 3> kBetaSchedule{
    {{"linear", BetaSchedule::linear}, {"scaled_linear", BetaSchedule::scaled_linear}, {"squaredcos_cap_v2", BetaSchedule::squaredcos_cap_v2}}};
constexpr Names<Prediction, 3> kPrediction{{{"epsilon", Prediction::epsilon}, {"v_prediction", Prediction::v_prediction}, {"sample", Prediction::sample}}};
constexpr Names<TimestepSpacing, 3> kSpacing{{{"leading", TimestepSpacing::leading}, {"linspace", TimestepSpacing::linspace}, {"trailing", TimestepSpacing::trailing}}};
constexpr Names<FinalSigma, 2> kFinalSigma{{{"zero", FinalSigma::zero}, {"sigma_min", FinalSigma::sigma_min}}};

void read_optional(const Fields& fields, std::string_view name, std::optional<double>& target) {
  if (fields.optional(name)) fields.read(name, target.emplace());
}

void read_ddim(const Fields& fields, DdimOptions& o) { fields.read("eta", o.eta); }
void read_ddpm(const Fields& fields, DdpmOptions& o) { fields.read("variance", names(kDdpmVariance), o.variance); }
void read_pndm(const Fields& fields, PndmOptions& o) { fields.read("skip_prk_steps", o.skip_prk_steps); }
void read_lcm(const Fields& fields, LcmOptions& o) { fields.read("original_steps", o.original_steps).read("timestep_scaling", o.timestep_scaling); }
void read_lms(const Fields& fields, LmsOptions& o) { fields.read("order", o.order); }

void read_dpm(const Fields& fields, DpmOptions& o) {
  fields.read("solver_type", names(kDpmSolverType), o.solver_type).read("lower_order_final", o.lower_order_final).read("euler_at_final", o.euler_at_final);
}

void read_unipc(const Fields& fields, UnipcOptions& o) {
  fields.read("solver_type", names(kUnipcSolverType), o.solver_type).read("lower_order_final", o.lower_order_final);
}

}  // namespace

SamplerOptions parse_sampler_options(const Fields& fields) {
  SamplerOptions o;
  fields.read("type", names(kSampler), o.kind).read("steps", o.steps).read("start", o.start).read("sigmas", names(kSigmas), o.sigmas);
  fields.read("custom_sigmas", o.custom_sigmas).read("custom_timesteps", o.custom_timesteps);
  read_optional(fields, "sigma_min", o.sigma_min);
  read_optional(fields, "sigma_max", o.sigma_max);
  switch (o.kind) {
    case SamplerKind::ddim: read_ddim(fields, o.ddim); break;
    case SamplerKind::ddpm: read_ddpm(fields, o.ddpm); break;
    case SamplerKind::pndm: read_pndm(fields, o.pndm); break;
    case SamplerKind::lcm: read_lcm(fields, o.lcm); break;
    case SamplerKind::lms: read_lms(fields, o.lms); break;
    case SamplerKind::unipc: read_unipc(fields, o.unipc); break;
    case SamplerKind::dpmpp_2m:
    case SamplerKind::dpmpp_2m_sde: read_dpm(fields, o.dpm); break;
    case SamplerKind::euler:
    case SamplerKind::euler_ancestral:
    case SamplerKind::heun:
    case SamplerKind::kdpm2: break;
  }
  return o;
}

NoiseScheduleOptions parse_noise_schedule_options(const Fields& fields) {
  NoiseScheduleOptions o;
  fields.read("train_timesteps", o.train_timesteps).read("beta_start", o.beta_start).read("beta_end", o.beta_end);
  fields.read("beta_schedule", names(kBetaSchedule), o.beta_schedule).read("trained_betas", o.trained_betas);
  fields.read("rescale_betas_zero_snr", o.rescale_betas_zero_snr).read("prediction", names(kPrediction), o.prediction);
  if (fields.optional("spacing")) fields.read("spacing", names(kSpacing), o.spacing.emplace());
  fields.read("steps_offset", o.steps_offset).read("set_alpha_to_one", o.set_alpha_to_one).read("final_sigma", names(kFinalSigma), o.final_sigma);
  fields.read("clip_sample", o.clip_sample).read("clip_sample_range", o.clip_sample_range).read("thresholding", o.thresholding);
  fields.read("dynamic_thresholding_ratio", o.dynamic_thresholding_ratio).read("sample_max_value", o.sample_max_value);
  return o;
}

void add_sampler_enum_names(Napi::Env env, Napi::Object enums) {
  enums.Set("sampler", emit_names(env, kSampler));
  enums.Set("sigmas", emit_names(env, kSigmas));
  enums.Set("ddpmVariance", emit_names(env, kDdpmVariance));
  enums.Set("dpmSolverType", emit_names(env, kDpmSolverType));
  enums.Set("unipcSolverType", emit_names(env, kUnipcSolverType));
  enums.Set("betaSchedule", emit_names(env, kBetaSchedule));
  enums.Set("prediction", emit_names(env, kPrediction));
  enums.Set("spacing", emit_names(env, kSpacing));
  enums.Set("finalSigma", emit_names(env, kFinalSigma));
}

}  // namespace seedbed::binding
