#pragma once

#include <napi.h>

#include <memory>

#include "tensor/error.h"
#include "tensor/scratch.h"

namespace seedbed::binding {

// A native object in JavaScript's hands: type-tagged, disposable, known to the garbage collector by its size.
// Work that runs on the object holds its own shared_ptr, so that disposing meanwhile is safe.
template <typename T>
class Handle {
 public:
  static Napi::Value make(Napi::Env env, std::shared_ptr<T> object, int64_t bytes) {
    auto* handle = new Handle{std::move(object), bytes};
    Napi::MemoryManagement::AdjustExternalMemory(env, bytes);
    auto external = Napi::External<Handle>::New(env, handle, [](Napi::Env env, Handle* handle) {
      handle->release(env);
      delete handle;
    });
    external.TypeTag(&T::kTypeTag);
    return external;
  }

  // Throws ERR_INVALID_ARGUMENT for another kind of value and ERR_DISPOSED after `dispose`.
  static std::shared_ptr<T> get(const Napi::Value& value) {
    Handle& handle = unwrap(value);
    if (!handle.object_) fail(ErrorCode::disposed, "Expected a {} that is not disposed", T::kTypeName);
    return handle.object_;
  }

  // Whether `value` is a handle of this type; disposes it if so. May be called twice.
  static bool dispose(const Napi::Value& value) {
    if (!is_tagged(value)) return false;
    unwrap(value).release(value.Env());
    return true;
  }

 private:
  Handle(std::shared_ptr<T> object, int64_t bytes) : object_(std::move(object)), bytes_(bytes) {}

  static bool is_tagged(const Napi::Value& value) { return value.IsExternal() && value.As<Napi::External<Handle>>().CheckTypeTag(&T::kTypeTag); }

  static Handle& unwrap(const Napi::Value& value) {
    expect(is_tagged(value), "Expected a {} handle", T::kTypeName);
    return *value.As<Napi::External<Handle>>().Data();
  }

  void release(Napi::Env env) {
    if (!object_) return;
    object_.reset();
    release_scratch();
    Napi::MemoryManagement::AdjustExternalMemory(env, -bytes_);
  }

  std::shared_ptr<T> object_;
  int64_t bytes_;
};

}  // namespace seedbed::binding
