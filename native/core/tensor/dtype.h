#pragma once

#include <c10/core/ScalarType.h>

#include <string_view>

namespace seedbed {

// The names used in safetensors headers ("F32", "BF16", "U8" ...) and their torch types.
// Throws ERR_DTYPE for one that is not known.
at::ScalarType dtype_from_safetensors(std::string_view name);
std::string_view dtype_to_safetensors(at::ScalarType dtype);

// The names used at the JavaScript surface ("float32", "bfloat16", "uint8" ...).
at::ScalarType dtype_from_name(std::string_view name);
std::string_view dtype_to_name(at::ScalarType dtype);

}  // namespace seedbed
