#pragma once

#include "diffusion/sampler.h"
#include "fields.h"

namespace seedbed::binding {

diffusion::SamplerOptions parse_sampler_options(const Fields& fields);
diffusion::NoiseScheduleOptions parse_noise_schedule_options(const Fields& fields);

// Adds the names of this topic's enums to nameTables' `enums`.
void add_sampler_enum_names(Napi::Env env, Napi::Object enums);

}  // namespace seedbed::binding
