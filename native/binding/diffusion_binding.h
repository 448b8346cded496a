#pragma once

#include <napi.h>

namespace seedbed::binding {

Napi::Value load_diffusion(const Napi::CallbackInfo& info);
Napi::Value diffusion_info(const Napi::CallbackInfo& info);
Napi::Value diffusion_weights(const Napi::CallbackInfo& info);
Napi::Value save_diffusion(const Napi::CallbackInfo& info);
Napi::Value encode_text(const Napi::CallbackInfo& info);
Napi::Value encode_vision(const Napi::CallbackInfo& info);
Napi::Value predict_noise(const Napi::CallbackInfo& info);
Napi::Value encode_pixels(const Napi::CallbackInfo& info);
Napi::Value decode_latents(const Napi::CallbackInfo& info);
Napi::Value generate(const Napi::CallbackInfo& info);
Napi::Value invert(const Napi::CallbackInfo& info);
Napi::Value replay_inversion(const Napi::CallbackInfo& info);
bool dispose_diffusion(const Napi::Value& value);

}  // namespace seedbed::binding
