#pragma once

#include <fmt/format.h>

#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace seedbed {

// The kinds of failure a caller can tell apart. Each has a stable name (`ERR_...`) that JavaScript sees as `error.code`.
enum class ErrorCode {
  invalid_argument,
  shape,
  dtype,
  disposed,
  cancelled,
  out_of_memory,
  file_not_found,
  file_read,
  file_write,
  file_format,
  disk_full,
  weights,
  not_finite,
  degenerate_fractal,
  no_cuda,
  internal,
};

std::string_view error_code_name(ErrorCode code);

// All codes, in the order of the enum; the TypeScript union is compared with this table in a test.
std::span<const std::pair<ErrorCode, std::string_view>> error_code_table();

// The one exception of the core. `what()` is one line: what was expected, for which name, what came.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

// Thrown by progress callbacks to stop a run between two steps.
class Cancelled : public Error {
 public:
  Cancelled() : Error(ErrorCode::cancelled, "The job was cancelled") {}
};

template <typename... Args>
[[noreturn]] void fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

template <typename... Args>
void expect(bool condition, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) fail(ErrorCode::invalid_argument, format, std::forward<Args>(args)...);
}

// "; 7 missing: a, b, c, d, e, ..." for the end of a message; nothing for no names.
std::string list_names(std::string_view title, const std::vector<std::string>& names);

}  // namespace seedbed
