#include <algorithm>
#include <cmath>

#include "diffusion/samplers.h"
#include "tensor/check.h"
#include "tensor/error.h"

namespace seedbed::diffusion {

namespace {

constexpr int64_t kMaxSteps = 10'000;
constexpr double kLeastAlphaCumprod = 0x1p-24;  // where there is no signal, sigmas end here (4096), as in diffusers
constexpr double kKarrasRho = 7;
constexpr double kTruncationSlack = 1e-3;  // timesteps
constexpr int64_t kPrkSteps = 3;

// How diffusers chooses the timesteps of a sampler.
struct Rule {
  bool on_sigmas;  // levels come from sigmas, which may lie between trained timesteps
  bool extra_point;  // the timesteps are those of one step more, without the last
  bool whole;  // timesteps are rounded
  TimestepSpacing spacing;  // unless the schedule says
  bool clips;  // timesteps beyond the trained ones count as the last of these; others cannot step between equal sigmas
};

Rule rule_of(SamplerKind kind) {
  switch (kind) {
    case SamplerKind::ddim:
    case SamplerKind::ddpm:
    case SamplerKind::pndm:
    case SamplerKind::lcm: return {false, false, true, TimestepSpacing::leading, false};
    case SamplerKind::dpmpp_2m:
    case SamplerKind::dpmpp_2m_sde:
    case SamplerKind::unipc: return {true, true, true, TimestepSpacing::linspace, false};
    case SamplerKind::lms: return {true, false, false, TimestepSpacing::linspace, false};
    case SamplerKind::euler:
    case SamplerKind::euler_ancestral:
    case SamplerKind::heun:
    case SamplerKind::kdpm2: return {true, false, false, TimestepSpacing::linspace, true};
  }
  fail(ErrorCode::internal, "Unknown sampler");
}

TimestepSpacing spacing_of(const SamplerOptions& options, const NoiseSchedule& schedule) { return schedule.options.spacing.value_or(rule_of(options.kind).spacing); }

void check_falling(const std::vector<double>& values, const char* name) {
  for (size_t i = 0; i < values.size(); ++i) {
    expect(std::isfinite(values[i]) && values[i] >= 0, "Expected finite numbers of at least 0 for {}, received {}", name, values[i]);
    expect(i == 0 || values[i] < values[i - 1], "Expected falling numbers for {}, received {} after {}", name, values[i], i == 0 ? 0 : values[i - 1]);
  }
}

void check_lists(const SamplerOptions& o, const NoiseSchedule& schedule) {
  const Rule rule = rule_of(o.kind);
  const bool timesteps = !o.custom_timesteps.empty(), sigmas = !o.custom_sigmas.empty();
  expect(!timesteps || !sigmas, "Expected timesteps or sigmas, received both");
  expect(rule.on_sigmas || (!sigmas && o.sigmas == SigmaSchedule::normal), "Expected a sampler that steps in sigmas for a sigma schedule; ddim, ddpm, pndm and lcm step in timesteps");
  expect(o.kind != SamplerKind::pndm || !timesteps, "Expected evenly spaced timesteps for pndm, received a list");
  expect(!timesteps || o.sigmas == SigmaSchedule::normal, "Expected timesteps or a sigma schedule, received both");
  check_falling(o.custom_timesteps, "timesteps");
  check_falling(o.custom_sigmas, "sigmas");
  if (!timesteps) return;
  const double last = static_cast<double>(schedule.options.train_timesteps - 1);
  expect(o.custom_timesteps.front() <= last, "Expected timesteps of at most {}, received {}", last, o.custom_timesteps.front());
  for (double t : o.custom_timesteps) expect(!rule.whole || t == std::floor(t), "Expected whole numbers for timesteps, received {}", t);
}

void check(const SamplerOptions& o, const NoiseSchedule& schedule) {
  check_lists(o, schedule);
  const int64_t T = schedule.options.train_timesteps, steps = step_count(o);
  const Rule rule = rule_of(o.kind);
  check_range(steps, "steps", 1, kMaxSteps);
  const bool interpolated = !rule.whole && spacing_of(o, schedule) == TimestepSpacing::linspace;
  const int64_t most = interpolated || !o.custom_sigmas.empty() ? kMaxSteps : o.kind == SamplerKind::lcm ? std::min(o.lcm.original_steps, T) : T - rule.extra_point;
  expect(steps <= most, "Expected at most {} steps here, received {}", most, steps);
  check_range(o.lms.order, "order", 1, 4);
  check_range(o.ddim.eta, "eta", 0.0, 1.0);
  if (o.kind == SamplerKind::pndm && !o.pndm.skip_prk_steps) expect(steps > kPrkSteps, "Expected at least {} steps for pndm with Runge-Kutta steps, received {}", kPrkSteps + 1, steps);
}

// Only a `steps_offset` leads beyond the trained timesteps. There diffusers fails with an IndexError, or with NaN, or clips.
void check_trained(double first, const SamplerOptions& o, const NoiseSchedule& schedule) {
  const int64_t last = schedule.options.train_timesteps - 1;
  expect(rule_of(o.kind).clips || first <= static_cast<double>(last), "Expected timesteps of at most {}, received {} from {} steps with steps_offset {}; take fewer steps or the spacing trailing",
         last, first, o.steps, schedule.options.steps_offset);
}

// Falling timesteps by the spacing; one for each step.
std::vector<double> spaced_timesteps(const SamplerOptions& options, const NoiseSchedule& schedule) {
  const Rule rule = rule_of(options.kind);
  const int64_t T = schedule.options.train_timesteps, n = options.steps, points = n + rule.extra_point;
  std::vector<double> timesteps;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t from_end = points - 1 - i;
    double t = 0;
    switch (spacing_of(options, schedule)) {
      case TimestepSpacing::leading: t = static_cast<double>(from_end * (T / points) + schedule.options.steps_offset); break;
      case TimestepSpacing::linspace: t = points == 1 ? 0 : static_cast<double>(T - 1) * static_cast<double>(from_end) / static_cast<double>(points - 1); break;
      case TimestepSpacing::trailing: t = std::nearbyint(static_cast<double>(T) - static_cast<double>(i) * (static_cast<double>(T) / static_cast<double>(n))) - 1; break;
    }
    timesteps.push_back(rule.whole ? std::nearbyint(t) : t);
  }
  check_trained(timesteps.front(), options, schedule);
  return timesteps;
}

// Evenly chosen from the timesteps of the distillation, the last of them first.
std::vector<double> lcm_timesteps(const SamplerOptions& options, const NoiseSchedule& schedule) {
  const int64_t original = options.lcm.original_steps, distance = schedule.options.train_timesteps / original;
  std::vector<double> timesteps;
  for (int64_t i = 0; i < options.steps; ++i) timesteps.push_back(static_cast<double>((original - i * original / options.steps) * distance - 1));
  return timesteps;
}

// diffusers' `skip_prk_steps`: the second timestep twice. Without it: four calls for each of three Runge-Kutta steps.
std::vector<double> pndm_timesteps(const SamplerOptions& options, const NoiseSchedule& schedule) {
  const std::vector<double> t = spaced_timesteps(options, schedule);
  std::vector<double> out{t[0]};
  if (options.pndm.skip_prk_steps) {
    if (t.size() > 1) out.push_back(t[1]);
    out.insert(out.end(), t.begin() + 1, t.end());
    return out;
  }
  const auto half = static_cast<double>(step_distance(options, schedule) / 2);
  for (int64_t i = 1; i <= kPrkSteps; ++i) {
    out.insert(out.end(), {t[i] + half, t[i] + half, t[i]});
    if (i < kPrkSteps) out.push_back(t[i]);
  }
  out.insert(out.end(), t.begin() + kPrkSteps, t.end());
  return out;
}

std::vector<double> timesteps_of(const SamplerOptions& options, const NoiseSchedule& schedule) {
  if (!options.custom_timesteps.empty()) return options.custom_timesteps;
  if (options.kind == SamplerKind::lcm) return lcm_timesteps(options, schedule);
  if (options.kind == SamplerKind::pndm) return pndm_timesteps(options, schedule);
  return spaced_timesteps(options, schedule);
}

// [T], rising.
std::vector<double> sigma_table(const NoiseSchedule& schedule) {
  std::vector<double> sigmas;
  for (double a : schedule.alphas_cumprod) {
    const double kept = a == 0 ? kLeastAlphaCumprod : a;
    sigmas.push_back(std::sqrt((1 - kept) / kept));
  }
  return sigmas;
}

double sigma_at(const std::vector<double>& table, double timestep) {
  const double last = static_cast<double>(table.size() - 1), t = std::clamp(timestep, 0.0, last);
  const auto low = static_cast<size_t>(t);
  return t == last ? table.back() : std::lerp(table[low], table[low + 1], t - std::floor(t));
}

// The timestep of a sigma, linear in its logarithm.
double timestep_of(const std::vector<double>& table, double sigma) {
  if (sigma <= table.front()) return 0;
  if (sigma >= table.back()) return static_cast<double>(table.size() - 1);
  const auto high = std::upper_bound(table.begin(), table.end(), sigma);
  const double low = std::log(*(high - 1));
  return static_cast<double>(high - table.begin() - 1) + (std::log(sigma) - low) / (std::log(*high) - low);
}

// Whether the network is told whole timesteps for sigmas that lie between two.
double round_timestep(double t, const SamplerOptions& options, const NoiseSchedule& schedule) {
  const bool karras = options.sigmas == SigmaSchedule::karras;
  switch (options.kind) {
    case SamplerKind::kdpm2: return karras ? std::nearbyint(t) : t;
    case SamplerKind::unipc:
    case SamplerKind::dpmpp_2m:
    case SamplerKind::dpmpp_2m_sde: {
      const bool nearest = karras && (options.kind == SamplerKind::unipc || schedule.options.beta_schedule != BetaSchedule::squaredcos_cap_v2);
      return nearest ? std::nearbyint(t) : std::floor(t + kTruncationSlack);  // faithful: truncated; fixed: 998.99998 is a rounded 999
    }
    default: return t;
  }
}

// n sigmas from the largest to the smallest, both included.
std::vector<double> spread_sigmas(const SamplerOptions& options, double sigma_max, double sigma_min) {
  const bool karras = options.sigmas == SigmaSchedule::karras;
  const auto bend = [&](double sigma) { return karras ? std::pow(sigma, 1 / kKarrasRho) : std::log(sigma); };
  const auto unbend = [&](double value) { return karras ? std::pow(value, kKarrasRho) : std::exp(value); };
  std::vector<double> sigmas;
  for (int64_t i = 0; i < options.steps; ++i) {
    const double share = options.steps == 1 ? 0 : static_cast<double>(i) / static_cast<double>(options.steps - 1);
    sigmas.push_back(unbend(std::lerp(bend(sigma_max), bend(sigma_min), share)));
  }
  return sigmas;
}

// Levels by sigma, the final one included.
std::vector<Level> sigma_levels(const SamplerOptions& options, const NoiseSchedule& schedule) {
  const std::vector<double> table = sigma_table(schedule);
  std::vector<Level> levels;
  if (!options.custom_sigmas.empty()) {
    for (double sigma : options.custom_sigmas) levels.push_back(level_of_sigma(sigma, sigma > 0 ? timestep_of(table, sigma) : -1));
    return levels;
  }
  for (double t : timesteps_of(options, schedule)) levels.push_back(level_of_sigma(sigma_at(table, t), t));
  if (options.sigmas != SigmaSchedule::normal) {
    const bool whole_table = rule_of(options.kind).extra_point;  // faithful: these take the ends of the table, not of their timesteps
    const double sigma_max = options.sigma_max.value_or(whole_table ? table.back() : levels.front().sigma);
    const double sigma_min = options.sigma_min.value_or(whole_table ? table.front() : levels.back().sigma);
    levels.clear();
    for (double sigma : spread_sigmas(options, sigma_max, sigma_min)) levels.push_back(level_of_sigma(sigma, round_timestep(timestep_of(table, sigma), options, schedule)));
  }
  const bool zero = schedule.options.final_sigma == FinalSigma::zero;
  levels.push_back(zero ? Level{-1, 0, 1} : level_of_sigma(table.front(), 0));
  return levels;
}

SamplePlan plan_sigmas(const SamplerOptions& options, const NoiseSchedule& schedule) {
  SamplePlan plan;
  plan.levels = sigma_levels(options, schedule);
  plan.targets.assign(plan.levels.begin() + 1, plan.levels.end());
  plan.levels.pop_back();
  if (options.kind == SamplerKind::kdpm2) {
    const std::vector<double> table = sigma_table(schedule);
    for (size_t i = 0; i < plan.levels.size(); ++i) {
      const double sigma = std::sqrt(plan.levels[i].sigma * plan.targets[i].sigma);
      plan.midpoints.push_back(level_of_sigma(sigma, sigma > 0 ? timestep_of(table, sigma) : -1));
    }
  }
  // diffusers begins with sigma noise (and not with sqrt(sigma^2 + 1)) where the first timestep is the last trained one.
  const bool preserving = rule_of(options.kind).extra_point || spacing_of(options, schedule) == TimestepSpacing::leading;
  plan.init_scale = preserving ? 1 : std::sqrt(1 - plan.levels[0].alpha_cumprod);
  return plan;
}

SamplePlan plan_timesteps(const SamplerOptions& options, const NoiseSchedule& schedule) {
  SamplePlan plan;
  const std::vector<double> timesteps = timesteps_of(options, schedule);
  const bool fixed_distance = options.kind == SamplerKind::pndm || (options.kind == SamplerKind::ddim && options.custom_timesteps.empty());
  const int64_t distance = step_distance(options, schedule);
  for (size_t i = 0; i < timesteps.size(); ++i) {
    const auto t = static_cast<int64_t>(timesteps[i]);
    plan.levels.push_back(level_at(schedule, t));
    const bool last = i + 1 == timesteps.size();
    if (last && options.kind != SamplerKind::ddim && options.kind != SamplerKind::pndm) plan.targets.push_back({-1, 0, 1});
    else plan.targets.push_back(level_or_final(schedule, fixed_distance ? t - distance : last ? -1 : static_cast<int64_t>(timesteps[i + 1])));
  }
  return plan;
}

}  // namespace

Level level_or_final(const NoiseSchedule& schedule, int64_t timestep) {
  if (timestep >= 0) return level_at(schedule, timestep);
  if (schedule.options.set_alpha_to_one) return {-1, 0, 1};
  Level level = level_at(schedule, 0);
  level.timestep = -1;
  return level;
}

int64_t step_distance(const SamplerOptions& options, const NoiseSchedule& schedule) { return schedule.options.train_timesteps / step_count(options); }

int64_t step_count(const SamplerOptions& o) {
  if (!o.custom_timesteps.empty()) return static_cast<int64_t>(o.custom_timesteps.size());
  if (!o.custom_sigmas.empty()) return static_cast<int64_t>(o.custom_sigmas.size()) - 1;
  return o.steps;
}

SamplePlan plan(const SamplerOptions& options, const NoiseSchedule& schedule) {
  check(options, schedule);
  SamplerOptions counted = options;
  counted.steps = step_count(options);
  return rule_of(options.kind).on_sigmas ? plan_sigmas(counted, schedule) : plan_timesteps(counted, schedule);
}

int64_t start_of_strength(double strength, int64_t steps) {
  check_range(strength, "strength", 0.0, 1.0);
  return steps - std::min(static_cast<int64_t>(static_cast<double>(steps) * strength), steps);
}

}  // namespace seedbed::diffusion
