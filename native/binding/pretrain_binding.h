#pragma once

#include <napi.h>

namespace seedbed::binding {

Napi::Value train_autoencoder(const Napi::CallbackInfo& info);
Napi::Value train_clip(const Napi::CallbackInfo& info);
Napi::Value train_diffusion(const Napi::CallbackInfo& info);

}  // namespace seedbed::binding
