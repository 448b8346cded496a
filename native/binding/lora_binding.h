#pragma once

#include <napi.h>

namespace seedbed::binding {

Napi::Value add_lora(const Napi::CallbackInfo& info);
Napi::Value change_lora(const Napi::CallbackInfo& info);
Napi::Value remove_lora(const Napi::CallbackInfo& info);
Napi::Value list_loras(const Napi::CallbackInfo& info);
Napi::Value active_loras(const Napi::CallbackInfo& info);
Napi::Value lora_placeholders(const Napi::CallbackInfo& info);
Napi::Value train_lora(const Napi::CallbackInfo& info);
Napi::Value lora_layers(const Napi::CallbackInfo& info);
bool dispose_active_loras(const Napi::Value& value);

}  // namespace seedbed::binding
