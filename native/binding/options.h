#pragma once

#include "fields.h"
#include "fractal/family.h"
#include "fractal/render_device.h"
#include "image/rand_augment.h"
#include "image/resize.h"
#include "train/loop.h"

// One function per options struct of the core; no other file knows the names of options.

namespace seedbed::binding {

fractal::Ifs parse_ifs(const Fields& fields);
std::vector<fractal::AffineMap> parse_affine(const Napi::Value& value, const std::string& path);
fractal::SampleOptions parse_sample_options(const Fields& fields);
fractal::PerturbOptions parse_perturb_options(const Fields& fields);
fractal::RenderOptions parse_render_options(const Fields& fields);
fractal::Device parse_render_device(const Fields& fields);
fractal::FamilyOptions parse_family_options(const Fields& fields);

train::TrainOptions parse_train_options(const Fields& fields);
train::View parse_view(const Fields& fields);
train::MixupOptions parse_mixup_options(const Fields& fields);
// What is missing stays as in the second argument.
train::OptimizerOptions parse_optimizer_options(const Fields& fields, train::OptimizerOptions defaults = {});
train::LrSchedule parse_lr_schedule(const Fields& fields, train::LrSchedule defaults = {});
nn::Precision parse_train_precision(const Fields& fields);
train::UpdateOptions parse_update_options(const Fields& fields, train::UpdateOptions defaults = {});
train::Mix parse_mix(const Fields& fields);
image::AugmentOptions parse_augment_options(const Fields& fields);
image::AugmentOp parse_augment_op(const Fields& fields);
image::Filter parse_filter(const Fields& fields);

// Threads for a job: `threads` of the options, 1 if it is missing.
int parse_threads(const Fields& fields);

// { draw: ["point", "patch"], ... }: every enum's names, for the test that compares them with TypeScript's unions.
Napi::Object emit_enum_names(Napi::Env env);

}  // namespace seedbed::binding
