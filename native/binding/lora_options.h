#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "fields.h"
#include "train/loop.h"
#include "train/lora_training.h"

namespace seedbed::binding {

void add_lora_enum_names(Napi::Env env, Napi::Object enums);

// { layer: { down, up, scale } } of a part; empty when it is missing.
std::map<std::string, nn::LoraFactors> parse_lora_factors(const Fields& fields, std::string_view part);

Napi::Value emit_lora_factors(Napi::Env env, const std::map<std::string, nn::LoraFactors>& factors);

// Rank, alpha and first values.
void parse_lora_draw(const Fields& fields, train::LoraDraw& draw);

// The `adapters` of a classifier's training.
std::optional<train::ClassifierAdapter> parse_classifier_adapter(const Fields& fields);

// `embeddings` by their words; empty when they are missing.
NamedTensors parse_embeddings(const Fields& fields);

train::LoraTrainOptions parse_lora_train_options(const Fields& fields);
// Pictures `images` and `prior_images` with their prompts' token ids [pictures, L] `ids` and `prior_ids`.
std::vector<train::LoraExample> parse_lora_examples(const Fields& fields);

}  // namespace seedbed::binding
