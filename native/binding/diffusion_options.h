#pragma once

#include "diffusion/model.h"
#include "fields.h"

// Options of the diffusion models.

namespace seedbed::binding {

diffusion::ModelFiles parse_model_files(const Fields& fields);
std::optional<nn::FreeU> parse_free_u(const Fields& fields);

}  // namespace seedbed::binding
