#include "nn/fused.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

#include "nn/kernels/fused_kernel.h"
#include "nn/kernels/scratch.h"
#include "nn/kernels/select.h"
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

  explicit Placement(int64_t size) : mean(size), scale(size), shift(size) {}
};

struct GroupNorm {
  int64_t batch, channels, pixels, groups;
  std::vector<float> weight, bias;  // [C]
  double eps;

  void place(int64_t b, int64_t g, const Joined& moments, Placement& out) const {
    const int64_t size = channels / groups;
    const double inverse = 1 / std::sqrt(moments.m2 / moments.count + eps);
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

// x, y [B, pixels, C]. Chunks of rows in parallel; their borders do not depend on the number of threads.
void norm_channels_last(const FusedKernel& kernel, const GroupNorm& norm, const at::Tensor& x, const at::Tensor& y, bool silu) {
  const int64_t rows = std::max(kFewestRows, kChunkElements / norm.channels), chunks = (norm.pixels + rows - 1) / rows;
  const auto rows_in = [&](int64_t chunk) { return std::min(rows, norm.pixels - chunk * rows); };
  const auto index_of = [&](int64_t i) { return (i / chunks * norm.pixels + i % chunks * rows) * norm.channels; };
  std::vector<Moments> moments(norm.batch * chunks * norm.groups);  // [B, chunks, groups]
  at::parallel_for(0, norm.batch * chunks, 1, [&](int64_t begin, int64_t end) {
    float* work = scratch(0, 2 * norm.channels);
    for (int64_t i = begin; i < end; ++i)
      kernel.row_moments(address(x, index_of(i)), element_of(x), rows_in(i % chunks), norm.channels, norm.groups, work, &moments[i * norm.groups]);
  });
  Placement placement(norm.batch * norm.channels);
  for (int64_t b = 0; b < norm.batch; ++b)
    for (int64_t g = 0; g < norm.groups; ++g) {
      Joined joined;
      for (int64_t chunk = 0; chunk < chunks; ++chunk) joined.add(moments[(b * chunks + chunk) * norm.groups + g], rows_in(chunk) * (norm.channels / norm.groups));
      norm.place(b, g, joined, placement);
    }
  at::parallel_for(0, norm.batch * chunks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t c = i / chunks * norm.channels;
      kernel.normalise_rows({address(x, index_of(i)), address(y, index_of(i)), element_of(x), rows_in(i % chunks), norm.channels, &placement.mean[c], &placement.scale[c],
                             &placement.shift[c], silu});
    }
  });
}

// x, y [B, C, pixels]: a group is one run of memory.
void norm_contiguous(const FusedKernel& kernel, const GroupNorm& norm, const at::Tensor& x, const at::Tensor& y, bool silu) {
  const int64_t size = norm.channels / norm.groups, run = size * norm.pixels;
  Placement placement(norm.batch * norm.channels);
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
  if (!has_kernel(x) || needs_gradient({x, weight, bias})) return group_norm_reference(x, groups, weight, bias, eps, silu);
  const int64_t channels = x.size(1);
  const bool rows = !x.is_contiguous() && x.is_contiguous(at::MemoryFormat::ChannelsLast);
  const bool own = x.use_count() == 1 && x.storage().use_count() == 1;
  const at::Tensor in = rows ? x : x.contiguous();
  const at::Tensor out = own ? in : at::empty_like(in);
  const GroupNorm norm{x.size(0), channels, x.size(2) * x.size(3), groups, floats_of(weight, channels, 1), floats_of(bias, channels, 0), eps};
  rows ? norm_channels_last(chosen, norm, in, out, silu) : norm_contiguous(chosen, norm, in, out, silu);
  return out;
}

at::Tensor geglu(const at::Tensor& x, std::string_view kernel) {
  check_gate(x);
  const FusedKernel& chosen = kernel_of(kernel);
  if (!has_kernel(x) || needs_gradient({x})) return geglu_reference(x);
  const at::Tensor in = x.contiguous();
  const int64_t width = x.size(-1) / 2, rows = x.numel() / x.size(-1);
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = width;
  const at::Tensor out = at::empty(shape, x.options());
  at::parallel_for(0, rows, std::max<int64_t>(1, kChunkElements / width), [&](int64_t begin, int64_t end) {
    chosen.geglu(address(in, begin * 2 * width), address(out, begin * width), element_of(x), end - begin, width);
  });
  return out;
}

}  // namespace seedbed::nn
