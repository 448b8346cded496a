#pragma once

#include <napi.h>

namespace seedbed::binding {

Napi::Value sample_ifs(const Napi::CallbackInfo& info);       // (options, seed) -> ifs
Napi::Value describe_ifs(const Napi::CallbackInfo& info);     // (ifs) -> { sigmaFactor, singularValues }
Napi::Value perturb_ifs(const Napi::CallbackInfo& info);      // (ifs, options, seed) -> ifs
Napi::Value weigh_ifs(const Napi::CallbackInfo& info);        // (affine) -> weights by determinant
Napi::Value map_sequence(const Napi::CallbackInfo& info);     // (weights, points, seed) -> Uint8 tensor of map indices
Napi::Value make_family(const Napi::CallbackInfo& info);      // (options, listener) -> job
Napi::Value render_fractals(const Napi::CallbackInfo& info);  // (options, listener) -> job
Napi::Value fractal_pictures(const Napi::CallbackInfo& info);  // (options, listener) -> job of an image set

}  // namespace seedbed::binding
