#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

// How far two sets of features lie apart, [N, D] and [M, D] of any floating type. Computed in double precision. All throw ERR_SHAPE for sets of
// different widths, ERR_NOT_FINITE, and ERR_INVALID_ARGUMENT for too few rows.

namespace seedbed::metrics {

// Frechet's distance between the normal distributions with the sets' means and covariances (Heusel et al. 2017, arXiv 1706.08500, eq. 6). It is
// too large for small sets: compare sets of one size only.
double frechet_distance(const at::Tensor& a, const at::Tensor& b);

struct KernelDistance {
  double distance = 0;
  double standard_error = 0;
};

// Squared maximum mean discrepancy with the kernel (x y / D + 1)^degree, unbiased (Binkowski et al. 2018, arXiv 1801.01401), over all rows rather than
// random subsets of them. The standard error is the jackknife's: from leaving out each row of each set.
KernelDistance kernel_distance(const at::Tensor& a, const at::Tensor& b, int64_t degree);

struct PrecisionRecall {
  double precision = 0;  // share of the made that lie among the real
  double recall = 0;     // share of the real that lie among the made
};

// Improved precision and recall (Kynkaanniemi et al. 2019, arXiv 1904.06991): a set's region is the union of balls around its rows that reach to the
// k-th nearest other row.
PrecisionRecall precision_recall(const at::Tensor& real, const at::Tensor& made, int64_t k);

struct Neighbours {
  at::Tensor places;     // [N, k] int64, the nearest first
  at::Tensor distances;  // [N, k] double
};

// The `k` rows of `gallery` nearest to each row of `queries`. `unit`: all rows brought to length 1 first, so that angles decide.
Neighbours nearest(const at::Tensor& queries, const at::Tensor& gallery, int64_t k, bool unit);

// [N] int64: how many rows of `gallery` are at least as near to row i of `queries` as its own, which is row `wanted[i]`, that one included: 1 is best.
at::Tensor ranks(const at::Tensor& queries, const at::Tensor& gallery, const at::Tensor& wanted, bool unit);

}  // namespace seedbed::metrics
