#pragma once

#include <ATen/core/Tensor.h>
#include <napi.h>

#include <initializer_list>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "fields.h"
#include "image/image_view.h"
#include "tensor/safetensors.h"

// Tensors and images across the border.

namespace seedbed::binding {

// { data, shape, dtype }, copied: the caller may change its array afterwards.
at::Tensor parse_tensor(const Napi::Value& value, const std::string& path);
// The same over the caller's memory, which must stay as it is while the tensor lives: see `Jobs::start`.
at::Tensor share_tensor(const Napi::Value& value, const std::string& path);
NamedTensors parse_named_tensors(const Napi::Value& value, const std::string& path);

// { data, width, height, channels } with 1 or 3 channels of 8 bits, copied.
image::Image parse_image(const Fields& fields);

// A list of them; empty when it is missing.
std::vector<image::Image> parse_images(const Fields& fields, std::string_view name);

// The same over the caller's memory, which must stay as it is while they are read: `kept` is for `Jobs::start`.
struct SharedImages {
  std::vector<image::ImageView> views;
  std::vector<Napi::Value> kept;
};
SharedImages share_images(const Fields& fields, std::string_view name);

// float16 and bfloat16 come out as the bits in a Uint16Array, int64 as a BigInt64Array.
Napi::Value emit_tensor(Napi::Env env, const at::Tensor& tensor);
Napi::Value emit_named_tensors(Napi::Env env, const NamedTensors& tensors);
Napi::Value emit_image(Napi::Env env, const image::Image& image);

// Where a result goes: memory that the caller gave as `out`, or new.
struct ResultMemory {
  bool given = false;
  uint8_t* data = nullptr;
  size_t bytes = 0;

  // Throws ERR_SHAPE when the caller's memory has another size.
  at::Tensor tensor(at::IntArrayRef shape, at::ScalarType dtype) const;
  // As emit_tensor, without `data` when that is the caller's.
  Napi::Value emit(Napi::Env env, const at::Tensor& result) const;
};
ResultMemory parse_out(const Fields& fields, std::vector<Napi::Value>& kept);

// A plain object. Seeds are BigInts.
using Value = std::variant<bool, int64_t, double, uint64_t, std::string, Napi::Value>;
Napi::Object emit_object(Napi::Env env, std::initializer_list<std::pair<const char*, Value>> fields);

template <typename Range, typename Emit>
Napi::Array emit_list(Napi::Env env, const Range& range, Emit emit) {
  Napi::Array list = Napi::Array::New(env, range.size());
  uint32_t i = 0;
  for (const auto& item : range) list.Set(i++, emit(item));
  return list;
}

}  // namespace seedbed::binding
