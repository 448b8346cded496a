#include "system_binding.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/version.h>

#include <chrono>

#include "classifier_options.h"
#include "clip_binding.h"
#include "diffusion_binding.h"
#include "diffusion_options.h"
#include "environment.h"
#include "family_options.h"
#include "fractal/orbit.h"
#include "handle.h"
#include "image_set.h"
#include "lora_binding.h"
#include "lora_options.h"
#include "metrics_binding.h"
#include "options.h"
#include "sampler_options.h"
#include "tensor/dtype.h"
#include "train_binding.h"
#include "values.h"

namespace seedbed::binding {

namespace {

// The version of the library that was loaded, as it tells of itself; the macro is that of the headers.
std::string loaded_version() {
  const std::string config = at::show_config(), key = "TORCH_VERSION=";
  const size_t begin = config.find(key);
  if (begin == std::string::npos) return "unknown";
  const size_t from = begin + key.size();
  return config.substr(from, config.find_first_of(", \n", from) - from);
}

std::string text(const Napi::Value& value, const char* name) {
  expect(value.IsString(), "Expected a string for {}", name);
  return value.As<Napi::String>();
}

Napi::Value emit_string(Napi::Env env, std::string_view value) { return Napi::String::New(env, value.data(), value.size()); }

}  // namespace

Napi::Value system_info(const Napi::CallbackInfo& info) {
  return emit_object(info.Env(), {{"builtForTorch", std::string(TORCH_VERSION)},
                                  {"loadedTorch", loaded_version()},
                                  {"cpuCapability", at::get_cpu_capability()},
                                  {"orbitKernel", std::string(fractal::orbit_kernel_name())},
                                  {"cuda", at::hasCUDA()}});
}

Napi::Value name_tables(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Object enums = emit_enum_names(env);
  add_family_enum_names(env, enums);
  add_sampler_enum_names(env, enums);
  add_diffusion_enum_names(env, enums);
  add_lora_enum_names(env, enums);
  add_classifier_enum_names(env, enums);
  return emit_object(env, {{"errorCodes", emit_list(env, error_code_table(), [env](const auto& row) { return emit_string(env, row.second); })},
                           {"models", emit_list(env, nn::classifier_names(), [env](const std::string& name) { return emit_string(env, name); })},
                           {"enums", enums}});
}

Napi::Value measure_matmul(const Napi::CallbackInfo& info) {
  constexpr int64_t kRows = 1024, kInner = 384, kColumns = 384;
  constexpr int kRepeats = 20;
  const auto dtype = dtype_from_name(text(info[0], "dtype"));
  const int threads_before = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor a = at::ones({kRows, kInner}, dtype), b = at::ones({kInner, kColumns}, dtype);
  double best = 1e9;
  for (int i = 0; i < kRepeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    at::mm(a, b);
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  at::set_num_threads(threads_before);
  return Napi::Number::New(info.Env(), 2.0 * kRows * kInner * kColumns / best / 1e9);
}

Napi::Value cancel_job(const Napi::CallbackInfo& info) {
  expect(info[0].IsNumber(), "Expected a job");
  Environment::of(info.Env()).jobs.cancel(static_cast<uint64_t>(info[0].As<Napi::Number>().Int64Value()));
  return info.Env().Undefined();
}

Napi::Value stop_jobs(const Napi::CallbackInfo& info) {
  Environment::of(info.Env()).jobs.stop();
  return info.Env().Undefined();
}

Napi::Value dispose_handle(const Napi::CallbackInfo& info) {
  expect(Handle<ImageSet>::dispose(info[0]) || dispose_classifier(info[0]) || dispose_diffusion(info[0]) || dispose_active_loras(info[0]) || dispose_judge(info[0]) || dispose_clip(info[0]), "Expected a handle to dispose");
  return info.Env().Undefined();
}

Napi::Value read_safetensors(const Napi::CallbackInfo& info) {
  const SafetensorsFile file(text(info[0], "path"));
  NamedTensors tensors;
  for (const std::string& name : file.names()) tensors.emplace_back(name, file.tensor(name).clone());
  Napi::Object metadata = Napi::Object::New(info.Env());
  for (const auto& [key, value] : file.metadata()) metadata.Set(key, value);
  return emit_object(info.Env(), {{"tensors", emit_named_tensors(info.Env(), tensors)}, {"metadata", metadata}});
}

Napi::Value write_safetensors(const Napi::CallbackInfo& info) {
  std::map<std::string, std::string> metadata;
  if (info[2].IsObject()) {
    const auto object = info[2].As<Napi::Object>();
    for (const Napi::Value& key : elements(object.GetPropertyNames(), "metadata")) metadata[key.ToString()] = text(object.Get(key), "metadata");
  }
  seedbed::write_safetensors(text(info[0], "path"), parse_named_tensors(info[1], "tensors"), metadata);
  return info.Env().Undefined();
}

}  // namespace seedbed::binding
