#pragma once

#include <napi.h>

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tensor/error.h"

namespace seedbed::binding {

// Names of an enum's values at the JavaScript surface.
template <typename Enum>
using EnumNames = std::span<const std::pair<std::string_view, Enum>>;

// Reads options from a JavaScript object. Names are given as in C++ (`label_smoothing`) and looked up in camel case
// (`labelSmoothing`). A field that is missing or undefined leaves its target as it is; one of a wrong type throws
// ERR_INVALID_ARGUMENT with its path. Whether a value makes sense is not decided here.
class Fields {
 public:
  Fields(const Napi::Value& value, std::string path);

  const Fields& read(std::string_view name, bool& target) const;
  const Fields& read(std::string_view name, double& target) const;
  const Fields& read(std::string_view name, int& target) const;
  const Fields& read(std::string_view name, int64_t& target) const;
  const Fields& read(std::string_view name, uint8_t& target) const;
  const Fields& read(std::string_view name, uint32_t& target) const;
  const Fields& read(std::string_view name, uint64_t& target) const;
  const Fields& read(std::string_view name, std::string& target) const;
  const Fields& read(std::string_view name, std::vector<double>& target) const;
  const Fields& read(std::string_view name, std::vector<int64_t>& target) const;
  const Fields& read(std::string_view name, std::vector<uint64_t>& target) const;
  const Fields& read(std::string_view name, std::vector<std::string>& target) const;

  template <typename Enum>
  const Fields& read(std::string_view name, EnumNames<Enum> names, Enum& target) const {
    if (!optional(name)) return *this;
    std::string text;
    read(name, text);
    for (const auto& [known, value] : names)
      if (known == text) {
        target = value;
        return *this;
      }
    fail(ErrorCode::invalid_argument, "Unknown value '{}' for {}", text, path_of(name));
  }

  // A nested object; nothing when it is missing.
  std::optional<Fields> object(std::string_view name) const;
  Fields required_object(std::string_view name) const;
  // The objects of a list; empty when it is missing.
  std::vector<Fields> objects(std::string_view name) const;
  // The objects in an object, by name; empty when it is missing.
  std::vector<std::pair<std::string, Fields>> named_objects(std::string_view name) const;
  // Any value, which must be there.
  Napi::Value required(std::string_view name) const;
  std::optional<Napi::Value> optional(std::string_view name) const;

  std::string path_of(std::string_view name) const;

 private:
  double number(const Napi::Value& value, std::string_view name) const;
  uint64_t unsigned_integer(const Napi::Value& value, std::string_view name) const;
  int64_t integer(std::string_view name, double low, double high, int64_t missing) const;

  Napi::Object object_;
  std::string path_;
};

// The function a job reports to.
Napi::Function parse_listener(const Napi::Value& value);

// The elements of a JavaScript array.
std::vector<Napi::Value> elements(const Napi::Value& value, std::string_view name);

}  // namespace seedbed::binding
