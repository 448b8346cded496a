#include "nn/recompute.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

namespace seedbed::nn {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

using Body = std::function<at::Tensor(const std::vector<at::Tensor>&)>;

// Lets autograd's context hold a function.
struct Holder : torch::CustomClassHolder {
  explicit Holder(Body given) : body(std::move(given)) {}
  Body body;
};

class Recompute : public torch::autograd::Function<Recompute> {
 public:
  // `anchor` needs a gradient: without it autograd would skip a body whose only trained leaves are captured.
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& /*anchor*/, at::TensorList inputs, Body body) {
    const at::Tensor out = body(inputs.vec());  // gradients are off in here
    ctx->save_for_backward(inputs.vec());
    ctx->saved_data["body"] = c10::IValue::make_capsule(c10::make_intrusive<Holder>(std::move(body)));
    return {out};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    variable_list inputs;
    for (const at::Tensor& x : saved) inputs.push_back(x.detach().requires_grad_(x.requires_grad()));
    const auto holder = c10::static_intrusive_pointer_cast<Holder>(ctx->saved_data["body"].toCapsule());
    {
      const c10::AutoGradMode grad(true);
      const at::Tensor out = holder->body(inputs);
      torch::autograd::backward({out}, {grads[0]});
    }
    variable_list result{at::Tensor()};  // the anchor's
    for (const at::Tensor& x : inputs) result.push_back(x.requires_grad() ? x.grad() : at::Tensor());
    result.emplace_back();  // the body's
    return result;
  }
};

}  // namespace

at::Tensor recompute(Body body, const std::vector<at::Tensor>& inputs) {
  if (!c10::GradMode::is_enabled()) return body(inputs);
  const at::Tensor anchor = at::empty({0}).requires_grad_(true);
  return Recompute::apply(anchor, at::TensorList(inputs), std::move(body));
}

}  // namespace seedbed::nn
