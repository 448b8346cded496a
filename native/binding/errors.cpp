#include "errors.h"

#include <c10/util/Exception.h>

#include <new>

#include "tensor/error.h"

namespace seedbed::binding {

ErrorInfo describe(const std::exception_ptr& error) {
  // Most derived first: a torch out-of-memory error is also a c10::Error.
  try {
    std::rethrow_exception(error);
  } catch (const Error& e) {
    return {error_code_name(e.code()), e.what()};
  } catch (const Napi::Error& e) {
    return {error_code_name(ErrorCode::invalid_argument), e.Message()};
  } catch (const c10::OutOfMemoryError& e) {
    return {error_code_name(ErrorCode::out_of_memory), e.what_without_backtrace()};
  } catch (const c10::Error& e) {
    const std::string message = e.what_without_backtrace();
    const bool allocation = message.find("DefaultCPUAllocator") != std::string::npos;  // thrown as a plain c10::Error
    return {error_code_name(allocation ? ErrorCode::out_of_memory : ErrorCode::internal), message.substr(0, message.find('\n'))};
  } catch (const std::bad_alloc&) {
    return {error_code_name(ErrorCode::out_of_memory), "Not enough memory"};
  } catch (const std::exception& e) {
    return {error_code_name(ErrorCode::internal), e.what()};
  } catch (...) {
    return {error_code_name(ErrorCode::internal), "Unknown error"};
  }
}

Napi::Error to_js_error(Napi::Env env, const std::exception_ptr& error) {
  const ErrorInfo info = describe(error);
  Napi::Error result = Napi::Error::New(env, info.message);
  result.Set("code", Napi::String::New(env, info.code.data(), info.code.size()));
  return result;
}

}  // namespace seedbed::binding
