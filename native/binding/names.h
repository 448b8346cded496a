#pragma once

#include <napi.h>

#include <array>
#include <string>

#include "fields.h"
#include "values.h"

namespace seedbed::binding {

// A table of an enum's names at the JavaScript surface.
template <typename Enum, size_t N>
using Names = std::array<std::pair<std::string_view, Enum>, N>;

template <typename Enum, size_t N>
EnumNames<Enum> names(const Names<Enum, N>& table) {
  return table;
}

// The name of a value, which must be in the table.
template <typename Enum, size_t N>
std::string name_of(const Names<Enum, N>& table, Enum value) {
  for (const auto& [name, known] : table)
    if (known == value) return std::string(name);
  fail(ErrorCode::internal, "a value of an enum has no name");
}

Napi::Value emit_names(Napi::Env env, const auto& table) {
  return emit_list(env, table, [env](const auto& row) { return Napi::String::New(env, row.first.data(), row.first.size()); });
}

}  // namespace seedbed::binding
