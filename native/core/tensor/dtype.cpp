#include "tensor/dtype.h"

#include <array>

#include "tensor/error.h"

namespace seedbed {

namespace {

struct Row {
  at::ScalarType dtype;
  std::string_view safetensors;
  std::string_view name;
};

constexpr std::array<Row, 10> kTable{{
    {at::kFloat, "F32", "float32"},
    {at::kDouble, "F64", "float64"},
    {at::kHalf, "F16", "float16"},
    {at::kBFloat16, "BF16", "bfloat16"},
    {at::kByte, "U8", "uint8"},
    {at::kChar, "I8", "int8"},
    {at::kShort, "I16", "int16"},
    {at::kInt, "I32", "int32"},
    {at::kLong, "I64", "int64"},
    {at::kBool, "BOOL", "bool"},
}};

template <typename Key>
const Row& find(const Key& key, auto field) {
  for (const Row& row : kTable)
    if (row.*field == key) return row;
  if constexpr (std::is_same_v<Key, at::ScalarType>)
    fail(ErrorCode::dtype, "Unsupported element type {}", c10::toString(key));
  else
    fail(ErrorCode::dtype, "Unsupported element type '{}'", key);
}

}  // namespace

at::ScalarType dtype_from_safetensors(std::string_view name) { return find(name, &Row::safetensors).dtype; }
std::string_view dtype_to_safetensors(at::ScalarType dtype) { return find(dtype, &Row::dtype).safetensors; }
at::ScalarType dtype_from_name(std::string_view name) { return find(name, &Row::name).dtype; }
std::string_view dtype_to_name(at::ScalarType dtype) { return find(dtype, &Row::dtype).name; }

}  // namespace seedbed
