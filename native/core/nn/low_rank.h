#pragma once

#include <ATen/core/Tensor.h>

#include <mutex>
#include <span>
#include <string_view>

// Low-rank products added to what a layer gave, for inference.

namespace seedbed::nn {

// Factors of one layer: down [r, in] and up [out, r], packed once, at the first use, for the code that reads them. They must not change.
class PackedLowRank {
 public:
  PackedLowRank(at::Tensor down, at::Tensor up) : down_(std::move(down)), up_(std::move(up)) {}

  const at::Tensor& down() const { return down_; }
  const at::Tensor& up() const { return up_; }

  struct Packed {
    at::Tensor down;  // [in, r and some], transposed, float32
    at::Tensor up;    // [r, out and some], transposed, float32
  };
  const Packed& packed() const;

 private:
  at::Tensor down_, up_;
  mutable std::once_flag once_;
  mutable Packed packed_;
};

// What is added to y [*, out].
struct LowRankTerm {
  const PackedLowRank* factors;
  double scale;
  at::Tensor y;          // contiguous, of x's type
  int64_t first = 0;     // of the columns of y that change
};

// y += scale (x down^T) up^T for all terms, whose layers share x [*, in]: x is read once, and nothing is allocated. float32 or bfloat16 on the CPU;
// sums are float32. The result does not depend on the number of threads. `kernel` as in attention.h.
void add_low_rank(const at::Tensor& x, std::span<const LowRankTerm> terms, std::string_view kernel = {});

// The same in plain tensor operations, anywhere and of any type: what tests compare with.
void add_low_rank_reference(const at::Tensor& x, std::span<const LowRankTerm> terms);

// Whether the former takes tensors like x.
bool has_low_rank_kernel(const at::Tensor& x);

}  // namespace seedbed::nn
