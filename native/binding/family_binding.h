#pragma once

#include <napi.h>

namespace seedbed::binding {

Napi::Value search_systems(const Napi::CallbackInfo& info);       // (options, listener) -> job of { systems, fills, tries }
Napi::Value fractal_instances(const Napi::CallbackInfo& info);    // (ifs, { width, patterns, seed }) -> { systems, textureSeeds }
Napi::Value draw_contour_classes(const Napi::CallbackInfo& info); // ({ set, first, count, seed }) -> classes
Napi::Value draw_contours(const Napi::CallbackInfo& info);        // (options, listener) -> job of a tensor
Napi::Value draw_image_copy(const Napi::CallbackInfo& info);      // ({ image, delta, copy, seed }, listener) -> job of an image
Napi::Value draw_picture(const Napi::CallbackInfo& info);         // (ifs, options, listener) -> job of a tensor

}  // namespace seedbed::binding
