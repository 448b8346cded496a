#pragma once

#include <napi.h>

#include <exception>
#include <string>
#include <string_view>

namespace seedbed::binding {

// What JavaScript learns of a failure: a stable code and one line.
struct ErrorInfo {
  std::string_view code;
  std::string message;
};

// The only mapping from C++ exceptions to JavaScript errors.
ErrorInfo describe(const std::exception_ptr& error);

Napi::Error to_js_error(Napi::Env env, const std::exception_ptr& error);

}  // namespace seedbed::binding
