// A tiny addon of its own, with no link to libtorch: opens shared libraries by absolute path and makes their symbols
// global, so that the main addon finds them without LD_LIBRARY_PATH.

#include <dlfcn.h>
#include <node_api.h>

#include <string>

namespace {

// (path): undefined, or throws the loader's message.
napi_value open_library(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument = nullptr;
  napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr);
  size_t length = 0;
  if (count != 1 || napi_get_value_string_utf8(env, argument, nullptr, 0, &length) != napi_ok) {
    napi_throw_type_error(env, "ERR_INVALID_ARGUMENT", "Expected the path of a library");
    return nullptr;
  }
  std::string path(length, '\0');
  napi_get_value_string_utf8(env, argument, path.data(), length + 1, &length);
  if (dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr) napi_throw_error(env, "ERR_LIBTORCH", dlerror());
  return nullptr;
}

napi_value initialise(napi_env env, napi_value exports) {
  napi_value function = nullptr;
  napi_create_function(env, "openLibrary", NAPI_AUTO_LENGTH, open_library, nullptr, &function);
  napi_set_named_property(env, exports, "openLibrary", function);
  return exports;
}

}  // namespace

NAPI_MODULE(seedbed_preload, initialise)
