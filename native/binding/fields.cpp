#include "fields.h"

#include <cmath>

namespace seedbed::binding {

namespace {

constexpr double kMaxSafeInteger = 9007199254740991.0;

std::string camel_case(std::string_view name) {
  std::string out;
  bool upper = false;
  for (char c : name) {
    if (c == '_') {
      upper = true;
      continue;
    }
    out += upper ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
    upper = false;
  }
  return out;
}

[[noreturn]] void wrong_type(const char* expected, const std::string& path) { fail(ErrorCode::invalid_argument, "Expected {} for {}", expected, path); }

}  // namespace

Fields::Fields(const Napi::Value& value, std::string path) : path_(std::move(path)) {
  if (!value.IsObject() || value.IsArray() || value.IsTypedArray()) wrong_type("an object", path_);
  object_ = value.As<Napi::Object>();
}

std::string Fields::path_of(std::string_view name) const { return path_.empty() ? camel_case(name) : path_ + "." + camel_case(name); }

std::optional<Napi::Value> Fields::optional(std::string_view name) const {
  const Napi::Value value = object_.Get(camel_case(name));
  if (value.IsUndefined() || value.IsNull()) return std::nullopt;
  return value;
}

Napi::Value Fields::required(std::string_view name) const {
  const auto value = optional(name);
  if (!value) wrong_type("a value", path_of(name));
  return *value;
}

double Fields::number(const Napi::Value& value, std::string_view name) const {
  if (!value.IsNumber()) wrong_type("a number", path_of(name));
  return value.As<Napi::Number>().DoubleValue();
}

int64_t Fields::integer(std::string_view name, double low, double high, int64_t missing) const {
  const auto value = optional(name);
  if (!value) return missing;
  const double read = number(*value, name);
  if (!(read >= low && read <= high) || read != std::floor(read))
    fail(ErrorCode::invalid_argument, "Expected an integer from {} to {} for {}, received {}", low, high, path_of(name), read);
  return static_cast<int64_t>(read);
}

const Fields& Fields::read(std::string_view name, bool& target) const {
  const auto value = optional(name);
  if (!value) return *this;
  if (!value->IsBoolean()) wrong_type("true or false", path_of(name));
  target = value->As<Napi::Boolean>().Value();
  return *this;
}

const Fields& Fields::read(std::string_view name, double& target) const {
  if (const auto value = optional(name)) target = number(*value, name);
  return *this;
}

const Fields& Fields::read(std::string_view name, int& target) const {
  target = static_cast<int>(integer(name, -2147483648.0, 2147483647.0, target));
  return *this;
}

const Fields& Fields::read(std::string_view name, int64_t& target) const {
  target = integer(name, -kMaxSafeInteger, kMaxSafeInteger, target);
  return *this;
}

const Fields& Fields::read(std::string_view name, uint8_t& target) const {
  target = static_cast<uint8_t>(integer(name, 0, 255, target));
  return *this;
}

const Fields& Fields::read(std::string_view name, uint32_t& target) const {
  target = static_cast<uint32_t>(integer(name, 0, 4294967295.0, target));
  return *this;
}

uint64_t Fields::unsigned_integer(const Napi::Value& value, std::string_view name) const {
  if (value.IsBigInt()) {
    bool lossless = false;
    const uint64_t read = value.As<Napi::BigInt>().Uint64Value(&lossless);
    expect(lossless, "Expected an integer below 2^64 for {}", path_of(name));
    return read;
  }
  const double read = number(value, name);
  expect(read >= 0 && read <= kMaxSafeInteger && read == std::floor(read), "Expected an integer of at least 0 for {}, received {}", path_of(name), read);
  return static_cast<uint64_t>(read);
}

const Fields& Fields::read(std::string_view name, uint64_t& target) const {
  if (const auto value = optional(name)) target = unsigned_integer(*value, name);
  return *this;
}

const Fields& Fields::read(std::string_view name, std::string& target) const {
  const auto value = optional(name);
  if (!value) return *this;
  if (!value->IsString()) wrong_type("a string", path_of(name));
  target = value->As<Napi::String>().Utf8Value();
  return *this;
}

const Fields& Fields::read(std::string_view name, std::vector<double>& target) const {
  const auto value = optional(name);
  if (!value) return *this;
  target.clear();
  for (const Napi::Value& element : elements(*value, path_of(name))) target.push_back(number(element, name));
  return *this;
}

const Fields& Fields::read(std::string_view name, std::vector<int64_t>& target) const {
  std::vector<double> numbers;
  if (!optional(name)) return *this;
  read(name, numbers);
  target.clear();
  for (double value : numbers) {
    expect(value == std::floor(value) && std::abs(value) <= kMaxSafeInteger, "Expected integers for {}, received {}", path_of(name), value);
    target.push_back(static_cast<int64_t>(value));
  }
  return *this;
}

const Fields& Fields::read(std::string_view name, std::vector<uint64_t>& target) const {
  const auto value = optional(name);
  if (!value) return *this;
  target.clear();
  for (const Napi::Value& element : elements(*value, path_of(name))) target.push_back(unsigned_integer(element, name));
  return *this;
}

const Fields& Fields::read(std::string_view name, std::vector<std::string>& target) const {
  const auto value = optional(name);
  if (!value) return *this;
  target.clear();
  for (const Napi::Value& element : elements(*value, path_of(name))) {
    if (!element.IsString()) wrong_type("strings", path_of(name));
    target.push_back(element.As<Napi::String>().Utf8Value());
  }
  return *this;
}

std::optional<Fields> Fields::object(std::string_view name) const {
  const auto value = optional(name);
  if (!value) return std::nullopt;
  return Fields(*value, path_of(name));
}

Fields Fields::required_object(std::string_view name) const { return Fields(required(name), path_of(name)); }

std::vector<Fields> Fields::objects(std::string_view name) const {
  std::vector<Fields> out;
  const auto value = optional(name);
  if (!value) return out;
  for (const Napi::Value& element : elements(*value, path_of(name))) out.emplace_back(element, path_of(name) + "[" + std::to_string(out.size()) + "]");
  return out;
}

std::vector<std::pair<std::string, Fields>> Fields::named_objects(std::string_view name) const {
  std::vector<std::pair<std::string, Fields>> out;
  const auto value = optional(name);
  if (!value) return out;
  if (!value->IsObject()) wrong_type("an object", path_of(name));
  const Napi::Object object = value->As<Napi::Object>();
  for (const Napi::Value& key : elements(object.GetPropertyNames(), name)) out.emplace_back(key.ToString(), Fields(object.Get(key), path_of(name) + "." + std::string(key.ToString())));
  return out;
}

Napi::Function parse_listener(const Napi::Value& value) {
  if (!value.IsFunction()) wrong_type("a function", "listener");
  return value.As<Napi::Function>();
}

std::vector<Napi::Value> elements(const Napi::Value& value, std::string_view name) {
  if (!value.IsArray()) wrong_type("a list", std::string(name));
  const Napi::Array array = value.As<Napi::Array>();
  std::vector<Napi::Value> out;
  for (uint32_t i = 0; i < array.Length(); ++i) out.push_back(array.Get(i));
  return out;
}

}  // namespace seedbed::binding
