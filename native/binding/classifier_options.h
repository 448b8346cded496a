#pragma once

#include "fields.h"
#include "nn/classifiers.h"

// Sizes of classifiers, in and out.

namespace seedbed::binding {

// { name } or { type: "vit" | "resnet", ... }; sizes beside a name take the place of its own.
nn::ClassifierConfig parse_classifier_config(const Fields& fields);
// The same sizes as an object that `parse_classifier_config` takes.
Napi::Object emit_classifier_config(Napi::Env env, const nn::ClassifierConfig& config);

void add_classifier_enum_names(Napi::Env env, Napi::Object enums);

}  // namespace seedbed::binding
