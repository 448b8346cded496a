#include "nn/fused.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "nn/kernels/fused_kernel.h"
#include "nn/kernels/scratch.h"
#include "nn/tensors.h"
#include "tensor/vector_code.h"
#include "tensor/check.h"
#include "tensor/error.h"

namespace seedbed::nn {

namespace {

constexpr int64_t kChunkElements = 16384;  // moments are taken of this many at a time, which stay in the second cache
constexpr int64_t kFewestRows = 16;

void check_groups(const at::Tensor& x, int64_t groups, const at::Tensor& weight, const at::Tensor& bias) {
  check_shape(x, "group_norm: x", {-1, -1, -1, -1});
  expect(groups > 0 && x.size(1) % groups == 0, "group_norm: expected groups that divide {} channels, received {}", x.size(1), groups);
  if (weight.defined()) check_shape(weight, "group_norm: weight", {x.size(1)});
  if (bias.defined()) check_shape(bias, "group_norm: bias", {x.size(1)});
}

void check_gate(const at::Tensor& x) { expect(x.dim() > 0 && x.size(-1) % 2 == 0, "geglu: expected an even last dimension, received {}", x.dim() > 0 ? x.size(-1) : 0); }

const FusedKernel& kernel_of(std::string_view name) {
  switch (vector_code(name)) {
#if defined(__x86_64__)
    case VectorCode::avx512bf16:
    case VectorCode::avx512: return kFusedAvx512;
    case VectorCode::avx2: return kFusedAvx2;
#endif
    default: return kFusedPortable;
  }
}

bool has_kernel(const at::Tensor& x) { return x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16) && x.numel() > 0; }

bool needs_gradient(std::initializer_list<at::Tensor> inputs) {
  return c10::GradMode::is_enabled() && std::ranges::any_of(inputs, [](const at::Tensor& x) { return x.defined() && x.requires_grad(); });
}

Element element_of(const at::Tensor& x) { return x.scalar_type() == at::kFloat ? Element::float32 : Element::bfloat16; }

char* address(const at::Tensor& x, int64_t index) { return static_cast<char*>(x.data_ptr()) + index * x.element_size(); }

// Moments of parts, joined one after the other in double precision.
struct Joined {
  double mean = 0, m2 = 0, count = 0;

  void add(const Moments& part, int64_t part_count) {
    const double n = static_cast<double>(part_count), delta = part.mean - mean, total = count + n;
    m2 += part.m2 + delta * delta * count * n / total;
    mean += delta * n / total;
    count = total;
  }
};

// Per image and channel: y = (x - mean) * scale + shift.
struct Placement {
  std::vector<float> mean, scale, shift;  // [B, C]
  std::vector<double> inverse;            // [B, groups] 1 / standard deviation

  Placement(int64_t batch, int64_t channels, int64_t groups) : mean(batch * channels), scale(mean.size()), shift(mean.size()), inverse(batch * groups) {}
};

struct GroupNorm {
  int64_t batch, channels, pixels, groups;
  std::vector<float> weight, bias;  // [C]
  double eps;

  void place(int64_t b, int64_t g, const Joined& moments, Placement& out) const {
    const int64_t size = channels / groups;
    const double inverse = 1 / std::sqrt(moments.m2 / moments.count + eps);
    out.inverse[b * groups + g] = inverse;
    for (int64_t c = g * size; c < (g + 1) * size; ++c) {
      out.mean[b * channels + c] = static_cast<float>(moments.mean);
      out.scale[b * channels + c] = static_cast<float>(weight[c] * inverse);
      out.shift[b * channels + c] = bias[c];
    }
  }
};

std::vector<float> floats_of(const at::Tensor& x, int64_t size, float missing) {
  if (!x.defined()) return std::vector<float>(size, missing);
  const at::Tensor plain = x.to(at::kFloat).contiguous();
  return {plain.data_ptr<float>(), plain.data_ptr<float>() + size};
}

// How the rows of maps [B, pixels, C] are cut into chunks that are worked on in parallel; this does not depend on the number of threads.
struct Chunks {
  int64_t rows, per_image, channels, pixels;

  explicit Chunks(const GroupNorm& norm)
      : rows(std::max(kFewestRows, kChunkElements / norm.channels)), per_image((norm.pixels + rows - 1) / rows), channels(norm.channels), pixels(norm.pixels) {}

  int64_t rows_in(int64_t i) const { return std::min(rows, pixels - i % per_image * rows); }
  int64_t first_element(int64_t i) const { return (i / per_image * pixels + i % per_image * rows) * channels; }
  int64_t first_channel(int64_t i) const { return i / per_image * channels; }  // in [B, C]
};

void normalise_channels_last(const FusedKernel& kernel, const GroupNorm& norm, const Placement& placement, const at::Tensor& x, const at::Tensor& y, bool silu) {
  const Chunks chunks(norm);
  at::parallel_for(0, norm.batch * chunks.per_image, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t c = chunks.first_channel(i);
      kernel.normalise_rows({address(x, chunks.first_element(i)), address(y, chunks.first_element(i)), element_of(x), chunks.rows_in(i), norm.channels, &placement.mean[c],
                             &placement.scale[c], &placement.shift[c], silu});
    }
  });
}

// x [B, pixels, C].
Placement placement_channels_last(const FusedKernel& kernel, const GroupNorm& norm, const at::Tensor& x) {
  const Chunks chunks(norm);
  std::vector<Moments> moments(norm.batch * chunks.per_image * norm.groups);  // [B, chunks, groups]
  at::parallel_for(0, norm.batch * chunks.per_image, 1, [&](int64_t begin, int64_t end) {
    float* work = scratch(0, 2 * norm.channels);
    for (int64_t i = begin; i < end; ++i)
      kernel.row_moments(address(x, chunks.first_element(i)), element_of(x), chunks.rows_in(i), norm.channels, norm.groups, work, &moments[i * norm.groups]);
  });
  Placement placement(norm.batch, norm.channels, norm.groups);
  for (int64_t b = 0; b < norm.batch; ++b)
    for (int64_t g = 0; g < norm.groups; ++g) {
      Joined joined;
      for (int64_t i = b * chunks.per_image; i < (b + 1) * chunks.per_image; ++i) joined.add(moments[i * norm.groups + g], chunks.rows_in(i) * (norm.channels / norm.groups));
      norm.place(b, g, joined, placement);
    }
  return placement;
}

struct NormGradients {
  at::Tensor x, weight, bias;  // [B, C, H, W] channels-last, [C], [C]
};

// x, grad [B, pixels, C]. With dz the gradient before silu, n the elements of a group and its sums S1 = sum(weight dz),
// S2 = sum(weight dz (x - mean)): grad x = weight dz / std - S1 / (n std) - (x - mean) S2 / (n std^3).
NormGradients gradient_channels_last(const FusedKernel& kernel, const GroupNorm& norm, const Placement& placement, const at::Tensor& x, const at::Tensor& grad, bool silu) {
  const Chunks chunks(norm);
  const int64_t all = norm.batch * chunks.per_image, C = norm.channels;
  const auto task = [&](int64_t i) {
    const int64_t c = chunks.first_channel(i), first = chunks.first_element(i);
    return NormGradient{address(x, first), address(grad, first), element_of(x), chunks.rows_in(i), C, &placement.mean[c], &placement.scale[c], &placement.shift[c], silu};
  };
  std::vector<float> sums(all * C), products(all * C);  // [B, chunks, C]
  at::parallel_for(0, all, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) kernel.norm_sums(task(i), &sums[i * C], &products[i * C]);
  });
  const at::Tensor grad_weight = at::zeros({C}, at::kDouble), grad_bias = at::zeros({C}, at::kDouble);
  auto *weights = grad_weight.mutable_data_ptr<double>(), *biases = grad_bias.mutable_data_ptr<double>();
  std::vector<float> slope(norm.batch * C), offset(norm.batch * C);
  const int64_t size = C / norm.groups;
  const double count = static_cast<double>(size * norm.pixels);
  for (int64_t b = 0; b < norm.batch; ++b)
    for (int64_t g = 0; g < norm.groups; ++g) {
      const double inverse = placement.inverse[b * norm.groups + g];  // 1 / std
      double s1 = 0, s2 = 0;
      for (int64_t c = g * size; c < (g + 1) * size; ++c) {
        double sum = 0, product = 0;
        for (int64_t i = b * chunks.per_image; i < (b + 1) * chunks.per_image; ++i) {
          sum += sums[i * C + c];
          product += products[i * C + c];
        }
        biases[c] += sum;
        weights[c] += product * inverse;
        s1 += sum * norm.weight[c];
        s2 += product * norm.weight[c];
      }
      for (int64_t c = b * C + g * size; c < b * C + (g + 1) * size; ++c) {
        offset[c] = static_cast<float>(-s1 * inverse / count);
        slope[c] = static_cast<float>(-s2 * inverse * inverse * inverse / count);
      }
    }
  NormGradients out{at::empty_like(x), grad_weight, grad_bias};
  at::parallel_for(0, all, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t c = chunks.first_channel(i);
      kernel.norm_gradient(task(i), {&slope[c], &offset[c], address(out.x, chunks.first_element(i))});
    }
  });
  return out;
}

// x, y [B, C, pixels]: a group is one run of memory.
void norm_contiguous(const FusedKernel& kernel, const GroupNorm& norm, const at::Tensor& x, const at::Tensor& y, bool silu) {
  const int64_t size = norm.channels / norm.groups, run = size * norm.pixels;
  Placement placement(norm.batch, norm.channels, norm.groups);
  at::parallel_for(0, norm.batch * norm.groups, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Joined joined;
      for (int64_t at = 0; at < run; at += kChunkElements) {
        const int64_t count = std::min(kChunkElements, run - at);
        joined.add(kernel.run_moments(address(x, i * run + at), element_of(x), count), count);
      }
      norm.place(i / norm.groups, i % norm.groups, joined, placement);
      for (int64_t c = i * size; c < (i + 1) * size; ++c)
        kernel.normalise_run({address(x, c * norm.pixels), address(y, c * norm.pixels), element_of(x), 1, 1, &placement.mean[c], &placement.scale[c], &placement.shift[c], silu},
                             norm.pixels);
    }
  });
}

GroupNorm norm_of(const at::Tensor& x, int64_t groups, const at::Tensor& weight, const at::Tensor& bias, double eps) {
  const int64_t channels = x.size(1);
  return {x.size(0), channels, x.size(2) * x.size(3), groups, floats_of(weight, channels, 1), floats_of(bias, channels, 0), eps};
}

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Lets autograd's context hold what a backward pass needs.
struct NormHolder : torch::CustomClassHolder {
  NormHolder(const FusedKernel& chosen, GroupNorm given, Placement where, bool with_silu) : kernel(chosen), norm(std::move(given)), placement(std::move(where)), silu(with_silu) {}
  const FusedKernel& kernel;
  GroupNorm norm;
  Placement placement;
  bool silu;
};

class NormFunction : public torch::autograd::Function<NormFunction> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, int64_t groups, double eps, bool silu, const FusedKernel* kernel) {
    const at::Tensor in = x.contiguous(at::MemoryFormat::ChannelsLast), out = at::empty_like(in);
    GroupNorm norm = norm_of(in, groups, weight, bias, eps);
    Placement placement = placement_channels_last(*kernel, norm, in);
    normalise_channels_last(*kernel, norm, placement, in, out, silu);
    ctx->save_for_backward({in});
    ctx->saved_data["norm"] = c10::IValue::make_capsule(c10::make_intrusive<NormHolder>(*kernel, std::move(norm), std::move(placement), silu));
    return out;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    expect_first_derivative("group_norm");
    const at::Tensor x = ctx->get_saved_variables()[0];
    const auto held = c10::static_intrusive_pointer_cast<NormHolder>(ctx->saved_data["norm"].toCapsule());
    const at::Tensor grad = grads[0].contiguous(at::MemoryFormat::ChannelsLast);
    const NormGradients out = gradient_channels_last(held->kernel, held->norm, held->placement, x, grad, held->silu);
    const auto of_type = [&](const at::Tensor& sums, size_t input) { return ctx->needs_input_grad(input) ? sums.to(at::kFloat) : at::Tensor(); };
    return {out.x, of_type(out.weight, 1), of_type(out.bias, 2), {}, {}, {}, {}};
  }
};

void for_gate_rows(int64_t rows, int64_t width, const std::function<void(int64_t begin, int64_t end)>& body) {
  at::parallel_for(0, rows, std::max<int64_t>(1, kChunkElements / width), body);
}

at::Tensor run_geglu(const FusedKernel& kernel, const at::Tensor& x) {
  const int64_t width = x.size(-1) / 2;
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = width;
  const at::Tensor out = at::empty(shape, x.options());
  for_gate_rows(x.numel() / x.size(-1), width, [&](int64_t begin, int64_t end) {
    kernel.geglu(address(x, begin * 2 * width), address(out, begin * width), element_of(x), end - begin, width);
  });
  return out;
}

class GegluFunction : public torch::autograd::Function<GegluFunction> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const FusedKernel* kernel) {
    ctx->save_for_backward({x});
    ctx->saved_data["kernel"] = reinterpret_cast<int64_t>(kernel);
    return run_geglu(*kernel, x);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    expect_first_derivative("geglu");
    const auto* const kernel = reinterpret_cast<const FusedKernel*>(ctx->saved_data["kernel"].toInt());
    const at::Tensor x = ctx->get_saved_variables()[0], grad = grads[0].contiguous(), out = at::empty_like(x);
    const int64_t width = x.size(-1) / 2;
    for_gate_rows(x.numel() / x.size(-1), width, [&](int64_t begin, int64_t end) {
      kernel->geglu_gradient(address(x, begin * 2 * width), address(grad, begin * width), address(out, begin * 2 * width), element_of(x), end - begin, width);
    });
    return {out, {}};
  }
};

}  // namespace

at::Tensor group_norm_reference(const at::Tensor& x, int64_t groups, const at::Tensor& weight, const at::Tensor& bias, double eps, bool silu) {
  check_groups(x, groups, weight, bias);
  const at::Tensor normal = at::group_norm(x, groups, weight, bias, eps);
  return silu ? at::silu(normal) : normal;
}

at::Tensor geglu_reference(const at::Tensor& x) {
  check_gate(x);
  const auto halves = x.chunk(2, -1);
  return halves[0] * at::gelu(halves[1]);
}

at::Tensor group_norm(at::Tensor x, int64_t groups, const at::Tensor& weight, const at::Tensor& bias, double eps, bool silu, std::string_view kernel) {
  check_groups(x, groups, weight, bias);
  const FusedKernel& chosen = kernel_of(kernel);
  if (!has_kernel(x)) return group_norm_reference(x, groups, weight, bias, eps, silu);
  if (needs_gradient({x, weight, bias})) return NormFunction::apply(x, weight, bias, groups, eps, silu, &chosen);
  const bool rows = !x.is_contiguous() && x.is_contiguous(at::MemoryFormat::ChannelsLast);
  const bool own = x.use_count() == 1 && x.storage().use_count() == 1;
  const at::Tensor in = rows ? x : x.contiguous();
  const at::Tensor out = own ? in : at::empty_like(in);
  const GroupNorm norm = norm_of(in, groups, weight, bias, eps);
  if (rows) normalise_channels_last(chosen, norm, placement_channels_last(chosen, norm, in), in, out, silu);
  else norm_contiguous(chosen, norm, in, out, silu);
  return out;
}

at::Tensor geglu(const at::Tensor& x, std::string_view kernel) {
  check_gate(x);
  const FusedKernel& chosen = kernel_of(kernel);
  if (!has_kernel(x)) return geglu_reference(x);
  return needs_gradient({x}) ? GegluFunction::apply(x.contiguous(), &chosen) : run_geglu(chosen, x.contiguous());
}

at::Tensor to_bfloat16(const at::Tensor& x, std::string_view kernel) {
  if (!x.is_cpu() || x.scalar_type() != at::kFloat || !x.is_contiguous()) return x.to(at::kBFloat16);
  at::Tensor y = at::empty_like(x, at::kBFloat16);
  kernel_of(kernel).narrow(x.const_data_ptr<float>(), static_cast<uint16_t*>(y.data_ptr()), x.numel());
  return y;
}

at::Tensor from_bfloat16(const at::Tensor& x, const at::Tensor& added, std::string_view kernel) {
  const bool plain = x.is_cpu() && x.scalar_type() == at::kBFloat16 && x.is_contiguous();
  if (!plain || (added.defined() && (added.scalar_type() != at::kFloat || !added.is_contiguous() || added.sizes() != x.sizes()))) return added.defined() ? added + x : x.to(at::kFloat);
  at::Tensor y = at::empty_like(x, at::kFloat);
  kernel_of(kernel).widen(static_cast<const uint16_t*>(x.data_ptr()), added.defined() ? added.const_data_ptr<float>() : nullptr, y.mutable_data_ptr<float>(), x.numel());
  return y;
}

}  // namespace seedbed::nn
