#include "nn/low_rank.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "nn/kernels/low_rank_kernel.h"
#include "nn/kernels/scratch.h"
#include "tensor/vector_code.h"
#include "tensor/check.h"
#include "tensor/error.h"

namespace seedbed::nn {

namespace {

constexpr int kScratchSlot = 0;
constexpr int64_t kRowsAtOnce = 64;         // of a thread
constexpr int64_t kColumnsAtOnce = 64;      // whose gradient a thread computes
constexpr int64_t kLeastWork = 1 << 21;     // products below which a second thread takes longer to start than it saves

const LowRankKernel& kernel_of(std::string_view name) {
  switch (vector_code(name)) {
#if defined(__x86_64__)
    case VectorCode::avx512bf16:
    case VectorCode::avx512: return kLowRankAvx512;
    case VectorCode::avx2: return kLowRankAvx2;
#endif
    default: return kLowRankPortable;
  }
}

int64_t whole(int64_t length) { return (length + kLowRankUnit - 1) / kLowRankUnit * kLowRankUnit; }

// As float32, contiguous, rows filled with zeros to whole vectors.
at::Tensor padded(const at::Tensor& factor) {
  if (factor.size(1) == whole(factor.size(1)) && factor.is_contiguous() && factor.scalar_type() == at::kFloat) return factor;
  at::Tensor out = at::zeros({factor.size(0), whole(factor.size(1))}, at::kFloat);
  out.slice(1, 0, factor.size(1)).copy_(factor);
  return out;
}

LowRankFactors pack(const at::Tensor& down, const at::Tensor& up) { return {padded(down.t()), padded(up.t())}; }

LowRankPart part_of(const LowRankFactors& factors, int64_t rank, int64_t out, double scale) {
  return {.down = factors.down.const_data_ptr<float>(), .up = factors.up.const_data_ptr<float>(), .rank = rank, .out = out, .down_stride = factors.down.size(1), .up_stride = factors.up.size(1), .y_stride = out, .scale = static_cast<float>(scale), .y = nullptr};
}

// Adds the parts to what they point to; x [*, in] is contiguous.
void add_parts(const at::Tensor& x, const std::vector<LowRankPart>& parts, const LowRankKernel& kernel) {
  const int64_t in = x.size(-1), rows = x.numel() / std::max<int64_t>(1, in), size = x.element_size();
  int64_t widest = 0, work = 0;
  for (const LowRankPart& part : parts) {
    widest = std::max(widest, part.down_stride);
    work += part.rank * (in + part.out);
  }
  const auto* const from = static_cast<const char*>(x.const_data_ptr());
  const auto element = x.scalar_type() == at::kFloat ? Element::float32 : Element::bfloat16;
  const int64_t blocks = (rows + kRowsAtOnce - 1) / kRowsAtOnce, grain = std::max<int64_t>(1, kLeastWork / std::max<int64_t>(1, kRowsAtOnce * work));
  at::parallel_for(0, blocks, grain, [&](int64_t begin, int64_t end) {
    float* const buffer = scratch(kScratchSlot, kernel.scratch(in, widest));
    std::vector<LowRankPart> own(parts);
    const int64_t first = begin * kRowsAtOnce, count = std::min(rows, end * kRowsAtOnce) - first;
    for (LowRankPart& part : own) {
      if (part.out > 0) part.y = static_cast<char*>(part.y) + first * part.y_stride * size;
      if (part.hidden != nullptr) part.hidden += first * part.down_stride;
    }
    kernel.add({from + first * in * size, element, count, in, own.data(), static_cast<int64_t>(own.size())}, buffer);
  });
}

// Factors of layers from `in` to `out` numbers.
void check_factors(const at::Tensor& down, const at::Tensor& up, int64_t in, int64_t out) {
  check_shape(down, "low-rank factor down", {up.size(1), in});
  check_shape(up, "low-rank factor up", {out, down.size(0)});
}

// y += scale (x down^T) up^T if y is defined; returns scale (x down^T).
at::Tensor add_kept(const at::Tensor& x, const LowRankFactors& factors, int64_t rank, double scale, const at::Tensor& y, std::string_view kernel) {
  check_dtype(x, "x", at::kFloat);
  LowRankPart part = part_of(factors, rank, y.defined() ? y.size(-1) : 0, scale);
  expect(x.is_contiguous() && (!y.defined() || (y.is_contiguous() && y.size(0) == x.size(0) && y.scalar_type() == at::kFloat)), "Expected as many contiguous rows that go in as come out");
  const at::Tensor hidden = at::empty({x.size(0), part.down_stride}, x.options());
  part.hidden = hidden.data_ptr<float>();
  if (y.defined()) part.y = y.data_ptr();
  add_parts(x, {part}, kernel_of(kernel));
  return hidden;
}

}  // namespace

const LowRankFactors& PackedLowRank::packed() const {
  std::call_once(once_, [this] { packed_ = pack(down_.flatten(1), up_); });
  return packed_;
}

bool has_low_rank_kernel(const at::Tensor& x) { return x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16); }

void add_low_rank(const at::Tensor& x, std::span<const LowRankTerm> terms, std::string_view name) {
  const LowRankKernel& kernel = kernel_of(name);
  const int64_t in = x.size(-1), rows = x.numel() / std::max<int64_t>(1, in);
  std::vector<LowRankPart> parts;
  for (const LowRankTerm& term : terms) {
    const LowRankFactors& factors = term.factors->packed();
    LowRankPart part = part_of(factors, factors.up.size(0), term.factors->up().size(0), term.scale);
    part.y_stride = term.y.size(-1);
    check_dtype(term.y, "low-rank output", x.scalar_type());
    expect(factors.down.size(0) == in && term.factors->down().size(0) == part.rank && term.y.numel() == rows * part.y_stride && term.first >= 0 && term.first + part.out <= part.y_stride && term.y.is_contiguous(),
           "Expected factors [r, {}] and [{}, r] for {} rows", in, part.y_stride, rows);
    part.y = static_cast<char*>(term.y.data_ptr()) + term.first * x.element_size();
    parts.push_back(part);
  }
  add_parts(x.contiguous(), parts, kernel);
}

at::Tensor add_low_rank_forward(const at::Tensor& x, const at::Tensor& down, const at::Tensor& up, double scale, const at::Tensor& y, std::string_view kernel) {
  check_factors(down, up, x.size(1), y.size(1));
  return add_kept(x, pack(down, up), down.size(0), scale, y, kernel);
}

at::Tensor add_low_rank_backward(const at::Tensor& gradient, const at::Tensor& down, const at::Tensor& up, double scale, const at::Tensor& x_gradient, std::string_view kernel) {
  check_factors(down, up, x_gradient.defined() ? x_gradient.size(1) : down.size(1), gradient.size(1));
  return add_kept(gradient, {padded(up), padded(down)}, down.size(0), scale, x_gradient, kernel);
}

at::Tensor low_rank_gradient(const at::Tensor& x, const at::Tensor& hidden, int64_t rank, std::string_view name) {
  const LowRankKernel& kernel = kernel_of(name);
  const int64_t rows = x.size(0), columns = x.size(1), stride = hidden.size(1);
  check_dtype(x, "x", at::kFloat);
  expect(x.is_contiguous() && hidden.is_contiguous() && hidden.size(0) == rows && rank <= stride, "Expected {} contiguous rows", rows);
  const at::Tensor out = at::zeros({columns, stride}, x.options());
  const int64_t blocks = (columns + kColumnsAtOnce - 1) / kColumnsAtOnce, grain = std::max<int64_t>(1, kLeastWork / std::max<int64_t>(1, kColumnsAtOnce * rows * rank));
  at::parallel_for(0, blocks, grain, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * kColumnsAtOnce;
    kernel.gradient({x.const_data_ptr<float>() + first, hidden.const_data_ptr<float>(), rows, std::min(columns, end * kColumnsAtOnce) - first, rank, columns, stride, out.data_ptr<float>() + first * stride});
  });
  return out.slice(1, 0, rank);
}

void add_low_rank_reference(const at::Tensor& x, std::span<const LowRankTerm> terms) {
  for (const LowRankTerm& term : terms) {
    const auto in_type = [&](const at::Tensor& factor) { return factor.to(x.device(), x.scalar_type()); };
    const at::Tensor hidden = at::linear(x, in_type(term.factors->down().flatten(1)));
    at::Tensor(term.y).view({-1, term.y.size(-1)}).narrow(1, term.first, term.factors->up().size(0)).addmm_(hidden.view({-1, hidden.size(-1)}), in_type(term.factors->up()).t(), 1, term.scale);
  }
}

}  // namespace seedbed::nn
