#include "nn/recompute.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include "nn/trained_linear.h"

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

thread_local RecomputeScope* active_scope = nullptr;
thread_local bool plain = false;

class Recompute : public torch::autograd::Function<Recompute> {
 public:
  // `anchor` needs a gradient: without it autograd would skip a body whose only trained leaves are captured.
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& /*anchor*/, at::TensorList inputs, Body body) {
    const PlainWeightsScope scope;
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
    variable_list leaves;
    for (const at::Tensor& x : inputs)
      if (x.requires_grad()) leaves.push_back(x);
    const size_t own = leaves.size();
    RecomputeScope* const scope = active_scope;
    if (scope != nullptr) leaves.insert(leaves.end(), scope->parameters().begin(), scope->parameters().end());
    const c10::AutoGradMode grad(true);
    const at::Tensor out = holder->body(inputs);
    const variable_list found = torch::autograd::grad({out}, leaves, {grads[0]}, /*retain_graph=*/false, /*create_graph=*/false, /*allow_unused=*/true);
    if (scope != nullptr) scope->add({found.begin() + static_cast<int64_t>(own), found.end()});
    variable_list result{at::Tensor()};  // the anchor's
    for (size_t i = 0, leaf = 0; i < inputs.size(); ++i) result.push_back(inputs[i].requires_grad() ? found[leaf++] : at::Tensor());
    result.emplace_back();  // the body's
    return result;
  }
};

}  // namespace

PlainWeightsScope::PlainWeightsScope() : outer_(plain) { plain = true; }

PlainWeightsScope::~PlainWeightsScope() { plain = outer_; }

bool plain_weights() { return plain; }

RecomputeScope::RecomputeScope(const std::vector<at::Tensor>& parameters) : parameters_(parameters), gradients_(parameters.size()), outer_(active_scope) { active_scope = this; }

RecomputeScope::~RecomputeScope() { active_scope = outer_; }

void RecomputeScope::add(const std::vector<at::Tensor>& gradients) {
  const c10::NoGradGuard no_grad;
  for (size_t i = 0; i < gradients.size(); ++i)
    if (gradients[i].defined()) gradients_[i] = gradients_[i].defined() ? gradients_[i] + gradients[i] : gradients[i];
}

at::Tensor recompute(Body body, const std::vector<at::Tensor>& inputs) {
  if (!c10::GradMode::is_enabled()) return body(inputs);
  const at::Tensor anchor = at::empty({0}).requires_grad_(true);
  Body again = [body = std::move(body), precision = active_precision()](const std::vector<at::Tensor>& given) {
    const PrecisionScope scope(precision);
    return body(given);
  };
  return Recompute::apply(anchor, at::TensorList(inputs), std::move(again));
}

}  // namespace seedbed::nn
