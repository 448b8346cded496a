#pragma once

#include <ATen/core/Tensor.h>

#include <mutex>
#include <span>
#include <string_view>

// Low-rank products added to what a layer gave.

namespace seedbed::nn {

// Factors down [r, in] and up [out, r] as the kernels read them.
struct LowRankFactors {
  at::Tensor down;  // [in, r and some], transposed, float32
  at::Tensor up;    // [r, out and some], transposed, float32
};

// Factors of one layer, packed once, at the first use. They must not change.
class PackedLowRank {
 public:
  PackedLowRank(at::Tensor down, at::Tensor up) : down_(std::move(down)), up_(std::move(up)) {}

  const at::Tensor& down() const { return down_; }
  const at::Tensor& up() const { return up_; }

  const LowRankFactors& packed() const;

 private:
  at::Tensor down_, up_;
  mutable std::once_flag once_;
  mutable LowRankFactors packed_;
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

// One training step's products of x [rows, in], gradient [rows, out], down [r, in] and up [out, r], contiguous and float32 on the CPU. `kernel` as above.

// y += scale (x down^T) up^T, y [rows, out]. Returns what `low_rank_gradient` reads: scale (x down^T) [rows, r and some].
at::Tensor add_low_rank_forward(const at::Tensor& x, const at::Tensor& down, const at::Tensor& up, double scale, const at::Tensor& y, std::string_view kernel = {});
// x_gradient += scale (gradient up) down, if it is defined, [rows, in]. Returns scale (gradient up) [rows, r and some].
at::Tensor add_low_rank_backward(const at::Tensor& gradient, const at::Tensor& down, const at::Tensor& up, double scale, const at::Tensor& x_gradient, std::string_view kernel = {});
// x^T hidden [in, r] of x [rows, in] and of what either of them returned: of up from gradient and forward, of down, transposed, from x and backward.
at::Tensor low_rank_gradient(const at::Tensor& x, const at::Tensor& hidden, int64_t rank, std::string_view kernel = {});

}  // namespace seedbed::nn
