#pragma once

#include <napi.h>

#include <functional>
#include <memory>

#include "diffusion/loras.h"
#include "fields.h"
#include "job.h"

namespace seedbed::binding {

// A loaded model in JavaScript's hands, with its adapters.
struct Diffusion {
  static constexpr const char* kTypeName = "diffusion model";
  static constexpr napi_type_tag kTypeTag{0x8c1d64f0b97e4a25, 0xa3e05b72c84d1f69};

  explicit Diffusion(std::shared_ptr<const diffusion::Model> model) : model(model), loras(std::move(model)) {}

  std::shared_ptr<const diffusion::Model> model;
  diffusion::Loras loras;
};

using DiffusionCall = std::function<Emit(const diffusion::Model&, JobContext&, const nn::Poll& poll)>;

// Runs `call` on the model's lane, without gradients, with the threads of the options and the adapters of their `loras`,
// a handle from `active_loras`, else those active now. Arguments: model, options, listener.
Napi::Value start_on_model(const Napi::CallbackInfo& info, const Fields& fields, DiffusionCall call);

}  // namespace seedbed::binding
