#pragma once

#include "diffusion/inversion.h"
#include "fields.h"

// Options of the diffusion models.

namespace seedbed::binding {

nn::UnetConfig parse_unet_config(const Fields& fields);
nn::VaeConfig parse_vae_config(const Fields& fields);
nn::ClipTextConfig parse_text_config(const Fields& fields);
nn::ClipVisionConfig parse_vision_config(const Fields& fields);
diffusion::WeightFiles parse_weight_files(const Fields& fields);
diffusion::ModelFiles parse_model_files(const Fields& fields);
std::optional<nn::FreeU> parse_free_u(const Fields& fields);
std::optional<nn::TokenMerging> parse_token_merging(const Fields& fields);
// The `attention` of a call; empty when it is missing.
nn::AttentionControlOptions parse_attention(const Fields& fields);
// Prompts, guidance and its variants; the tensors are copied.
diffusion::Guidance parse_guidance(const Fields& fields);
diffusion::GenerateOptions parse_generate_options(const Fields& fields);
// The same but for the prompts.
diffusion::GenerateOptions parse_picture_options(const Fields& fields);
// The `kind` of a call of invert.
diffusion::InversionKind parse_inversion_kind(const Fields& fields);

// Adds the names of this topic's enums to nameTables' `enums`.
void add_diffusion_enum_names(Napi::Env env, Napi::Object enums);

}  // namespace seedbed::binding
