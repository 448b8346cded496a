#include "kernel_binding.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>

#include <chrono>
#include <deque>
#include <functional>

#include "fields.h"
#include "fractal/render_blocks.h"
#include "nn/attention.h"
#include "nn/conv.h"
#include "nn/fused.h"
#include "nn/low_rank.h"
#include "nn/trained_linear.h"
#include "nn/winograd.h"
#include "options.h"
#include "values.h"

namespace seedbed::binding {

namespace {

// What every kernel takes besides its tensors.
struct Run {
  bool reference = false;
  std::string kernel;
  int threads_before = at::get_num_threads();

  explicit Run(const Fields& fields) {
    std::string kind = "fused";
    fields.read("kind", kind).read("kernel", kernel);
    expect(kind == "fused" || kind == "reference", "Expected 'fused' or 'reference' for {}, received '{}'", fields.path_of("kind"), kind);
    reference = kind == "reference";
    at::set_num_threads(parse_threads(fields));
  }
  ~Run() { at::set_num_threads(threads_before); }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;
};

double ms_since(std::chrono::steady_clock::time_point start) { return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count(); }

at::Tensor optional_tensor(const Fields& fields, std::string_view name) {
  const auto value = fields.optional(name);
  return value ? parse_tensor(*value, fields.path_of(name)) : at::Tensor();
}

at::Tensor required_tensor(const Fields& fields, std::string_view name) { return parse_tensor(fields.required(name), fields.path_of(name)); }

// The output of `call` of the first input; with the option `gradient`, that of the output, { out, gradX, ... } for all inputs.
Napi::Value with_gradients(Napi::Env env, const Fields& fields, const std::vector<std::pair<const char*, at::Tensor>>& inputs, const std::function<at::Tensor(const at::Tensor&)>& call) {
  const at::Tensor gradient = optional_tensor(fields, "gradient");
  std::vector<at::Tensor> leaves;
  for (const auto& [name, x] : inputs)
    if (x.defined()) leaves.push_back(x.requires_grad_(gradient.defined()));
  const at::Tensor out = call(gradient.defined() ? inputs.front().second.view_as(inputs.front().second) : inputs.front().second);
  if (!gradient.defined()) return emit_tensor(env, out);
  Napi::Object result = emit_object(env, {{"out", emit_tensor(env, out.detach())}});
  const auto grads = torch::autograd::grad({out}, leaves, {gradient});
  for (size_t i = 0, leaf = 0; i < inputs.size(); ++i)
    if (inputs[i].second.defined()) result.Set(std::string("grad") + inputs[i].first, emit_tensor(env, grads[leaf++]));
  return result;
}

}  // namespace

Napi::Value vector_codes(const Napi::CallbackInfo& info) {
  return emit_list(info.Env(), nn::attention_kernels(), [&](std::string_view name) { return Napi::String::New(info.Env(), std::string(name)); });
}

Napi::Value attention(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  const Run run(fields);
  double scale = 1;
  bool heads_first = false;
  fields.read("scale", scale).read("heads_first", heads_first);
  const at::Tensor grad_out = optional_tensor(fields, "gradient");
  const auto input = [&](std::string_view name) {
    const at::Tensor x = required_tensor(fields, name);
    return (heads_first ? x.transpose(1, 2) : x).requires_grad_(grad_out.defined());
  };
  const at::Tensor q = input("q"), k = input("k"), v = input("v");
  auto start = std::chrono::steady_clock::now();
  const at::Tensor out = run.reference ? nn::attention_reference(q, k, v, scale) : nn::attention(q, k, v, scale, run.kernel);
  Napi::Object result = emit_object(info.Env(), {{"forwardMs", ms_since(start)}, {"out", emit_tensor(info.Env(), out)}});
  if (!grad_out.defined()) return result;
  start = std::chrono::steady_clock::now();
  const auto grads = torch::autograd::grad({out}, {q, k, v}, {heads_first ? grad_out.transpose(1, 2) : grad_out});
  result.Set("backwardMs", ms_since(start));
  result.Set("gradQ", emit_tensor(info.Env(), grads[0]));
  result.Set("gradK", emit_tensor(info.Env(), grads[1]));
  result.Set("gradV", emit_tensor(info.Env(), grads[2]));
  return result;
}

Napi::Value group_norm(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  const Run run(fields);
  int64_t groups = 1;
  double eps = 1e-5;
  bool silu = false, channels_last = false;
  fields.read("groups", groups).read("eps", eps).read("silu", silu).read("channels_last", channels_last);
  at::Tensor x = required_tensor(fields, "x");
  if (channels_last) x = x.contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor weight = optional_tensor(fields, "weight"), bias = optional_tensor(fields, "bias");
  return with_gradients(info.Env(), fields, {{"X", x}, {"Weight", weight}, {"Bias", bias}}, [&](const at::Tensor& input) {
    return run.reference ? nn::group_norm_reference(input, groups, weight, bias, eps, silu) : nn::group_norm(input, groups, weight, bias, eps, silu, run.kernel);
  });
}

Napi::Value geglu(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  const Run run(fields);
  const at::Tensor x = required_tensor(fields, "x");
  return with_gradients(info.Env(), fields, {{"X", x}}, [&](const at::Tensor& input) { return run.reference ? nn::geglu_reference(input) : nn::geglu(input, run.kernel); });
}

Napi::Value change_precision(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  const Run run(fields);
  const at::Tensor x = required_tensor(fields, "x");
  return emit_tensor(info.Env(), x.scalar_type() == at::kFloat ? nn::to_bfloat16(x, run.kernel) : nn::from_bfloat16(x, optional_tensor(fields, "added"), run.kernel));
}

Napi::Value trained_linear(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  const Run run(fields);
  const nn::PrecisionScope precision(parse_train_precision(fields));
  const nn::TrainedLinear layer;
  const at::Tensor weight = required_tensor(fields, "weight"), bias = optional_tensor(fields, "bias"), residual = optional_tensor(fields, "residual");
  return with_gradients(info.Env(), fields, {{"X", required_tensor(fields, "x")}, {"Weight", weight}, {"Bias", bias}, {"Residual", residual}},
                        [&](const at::Tensor& x) { return layer(x, weight, bias, residual); });
}

Napi::Value winograd_filter_gradient(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  const Run run(fields);
  return emit_tensor(info.Env(), nn::winograd_filter_gradient(required_tensor(fields, "x"), required_tensor(fields, "gradient"), run.kernel));
}

Napi::Value low_rank(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  const Run run(fields);
  const at::Tensor x = required_tensor(fields, "x");
  std::vector<at::Tensor> outputs;
  for (const Napi::Value& value : elements(fields.required("outputs"), "outputs")) outputs.push_back(parse_tensor(value, "outputs"));
  std::deque<nn::PackedLowRank> factors;
  std::vector<nn::LowRankTerm> terms;
  for (const Fields& term : fields.objects("terms")) {
    int64_t output = 0, first = 0;
    double scale = 1;
    term.read("output", output).read("scale", scale).read("first", first);
    expect(output >= 0 && output < static_cast<int64_t>(outputs.size()), "Expected the place of an output, received {}", output);
    factors.emplace_back(required_tensor(term, "down"), required_tensor(term, "up"));
    terms.push_back({&factors.back(), scale, outputs[output], first});
  }
  if (run.reference) nn::add_low_rank_reference(x, terms);
  else nn::add_low_rank(x, terms, run.kernel);
  return emit_list(info.Env(), outputs, [&](const at::Tensor& y) { return emit_tensor(info.Env(), y); });
}

Napi::Value trained_low_rank(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  const Run run(fields);
  const at::Tensor x = required_tensor(fields, "x"), down = required_tensor(fields, "down"), up = required_tensor(fields, "up"), y = required_tensor(fields, "y"), gradient = required_tensor(fields, "gradient");
  double scale = 1;
  fields.read("scale", scale);
  const at::Tensor grad_x = at::zeros_like(x);
  const at::Tensor hidden = nn::add_low_rank_forward(x, down, up, scale, y, run.kernel);
  const at::Tensor grad_hidden = nn::add_low_rank_backward(gradient, down, up, scale, grad_x, run.kernel);
  return emit_object(info.Env(), {{"out", emit_tensor(info.Env(), y)},
                                  {"gradX", emit_tensor(info.Env(), grad_x)},
                                  {"gradDown", emit_tensor(info.Env(), nn::low_rank_gradient(x, grad_hidden, down.size(0), run.kernel).t().contiguous())},
                                  {"gradUp", emit_tensor(info.Env(), nn::low_rank_gradient(gradient, hidden, down.size(0), run.kernel).contiguous())}});
}

Napi::Value emulate_blocks(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  std::vector<fractal::Ifs> systems;
  std::vector<uint64_t> seeds;
  for (const Fields& system : fields.objects("systems")) {
    seeds.push_back(systems.size());
    systems.push_back(parse_ifs(system));
  }
  WorkerPool pool(1);
  const fractal::Renderer renderer(parse_render_options(fields));
  return emit_tensor(info.Env(), fractal::render_blocks(*fractal::emulate_blocks(), renderer, systems, seeds, pool));
}

Napi::Value frozen_convolution(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  const Run run(fields);
  const at::Tensor x = required_tensor(fields, "x"), weight = required_tensor(fields, "weight"), bias = optional_tensor(fields, "bias"), residual = optional_tensor(fields, "residual");
  const int64_t kernel = weight.size(-1), padding = (kernel - 1) / 2;
  nn::Conv2d layer(weight.size(1), weight.size(0), {.kernel = kernel, .stride = 1, .padding = padding, .bias = bias.defined()});
  layer.weight.requires_grad_(false).copy_(weight);
  if (bias.defined()) layer.bias.requires_grad_(false).copy_(bias);
  layer.prepare({}, "layer");
  return with_gradients(info.Env(), fields, {{"X", x}, {"Residual", residual}}, [&](const at::Tensor& input) {
    if (!run.reference) return residual.defined() ? layer.add_to(residual, input) : layer(input);
    const at::Tensor y = at::conv2d(input, weight, bias, 1, at::IntArrayRef({padding, padding}));
    return residual.defined() ? residual + y : y;
  });
}

Napi::Value winograd_convolution(const Napi::CallbackInfo& info) {
  const Fields fields(info[0], "options");
  const Run run(fields);
  const at::Tensor x = required_tensor(fields, "x"), weight = required_tensor(fields, "weight");
  const at::Tensor bias = optional_tensor(fields, "bias"), residual = optional_tensor(fields, "residual"), packed = nn::pack_winograd(weight);
  if (optional_tensor(fields, "gradient").defined())
    return with_gradients(info.Env(), fields, {{"X", x}, {"Weight", weight}, {"Bias", bias}, {"Residual", residual}},
                          [&](const at::Tensor& input) { return nn::winograd_conv3x3_trained(input, weight, packed, {}, bias, residual); });
  return emit_tensor(info.Env(), nn::winograd_conv3x3(x, packed, weight.size(0), bias, residual, run.kernel));
}

}  // namespace seedbed::binding
