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

// Transposed, float32, rows filled with zeros to whole vectors.
at::Tensor pack(const at::Tensor& factor) {
  const int64_t columns = (factor.size(0) + kLowRankUnit - 1) / kLowRankUnit * kLowRankUnit;
  at::Tensor out = at::zeros({factor.size(1), columns}, at::kFloat);
  out.slice(1, 0, factor.size(0)).copy_(factor.t());
  return out;
}

}  // namespace

const PackedLowRank::Packed& PackedLowRank::packed() const {
  std::call_once(once_, [this] { packed_ = {pack(down_.flatten(1)), pack(up_)}; });
  return packed_;
}

bool has_low_rank_kernel(const at::Tensor& x) { return x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16); }

void add_low_rank(const at::Tensor& x, std::span<const LowRankTerm> terms, std::string_view name) {
  const LowRankKernel& kernel = kernel_of(name);
  const at::Tensor given = x.contiguous();
  const int64_t in = x.size(-1), rows = x.numel() / std::max<int64_t>(1, in), size = x.element_size();
  std::vector<LowRankPart> parts;
  int64_t widest = 0, work = 0;
  for (const LowRankTerm& term : terms) {
    const auto& [down, up] = term.factors->packed();
    const int64_t rank = up.size(0), out = term.factors->up().size(0), width = term.y.size(-1);
    check_dtype(term.y, "low-rank output", x.scalar_type());
    expect(down.size(0) == in && term.factors->down().size(0) == rank && term.y.numel() == rows * width && term.first >= 0 && term.first + out <= width && term.y.is_contiguous(),
           "Expected factors [r, {}] and [{}, r] for {} rows", in, width, rows);
    parts.push_back({down.const_data_ptr<float>(), up.const_data_ptr<float>(), rank, out, down.size(1), up.size(1), width, static_cast<float>(term.scale), static_cast<char*>(term.y.data_ptr()) + term.first * size});
    widest = std::max(widest, down.size(1));
    work += rank * (in + out);
  }
  const auto* const from = static_cast<const char*>(given.const_data_ptr());
  const auto element = x.scalar_type() == at::kFloat ? Element::float32 : Element::bfloat16;
  const int64_t blocks = (rows + kRowsAtOnce - 1) / kRowsAtOnce, grain = std::max<int64_t>(1, kLeastWork / std::max<int64_t>(1, kRowsAtOnce * work));
  at::parallel_for(0, blocks, grain, [&](int64_t begin, int64_t end) {
    float* const buffer = scratch(kScratchSlot, kernel.scratch(in, widest));
    std::vector<LowRankPart> own(parts);
    const int64_t first = begin * kRowsAtOnce, count = std::min(rows, end * kRowsAtOnce) - first;
    for (LowRankPart& part : own) part.y = static_cast<char*>(part.y) + first * part.y_stride * size;
    kernel.add({from + first * in * size, element, count, in, own.data(), static_cast<int64_t>(own.size())}, buffer);
  });
}

void add_low_rank_reference(const at::Tensor& x, std::span<const LowRankTerm> terms) {
  for (const LowRankTerm& term : terms) {
    const auto in_type = [&](const at::Tensor& factor) { return factor.to(x.device(), x.scalar_type()); };
    const at::Tensor hidden = at::linear(x, in_type(term.factors->down().flatten(1)));
    at::Tensor(term.y).view({-1, term.y.size(-1)}).narrow(1, term.first, term.factors->up().size(0)).addmm_(hidden.view({-1, hidden.size(-1)}), in_type(term.factors->up()).t(), 1, term.scale);
  }
}

}  // namespace seedbed::nn
