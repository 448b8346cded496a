#include "metrics/distances.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <vector>

#include "tensor/check.h"
#include "tensor/error.h"

namespace seedbed::metrics {

namespace {

constexpr int64_t kRows = 1024;  // of a block of distances

at::Tensor checked(const at::Tensor& x, const char* name, int64_t width, int64_t least) {
  check_shape(x, name, {-1, width});
  if (!at::isFloatingType(x.scalar_type())) fail(ErrorCode::dtype, "Expected floating point numbers in {}, received {}", name, c10::toString(x.scalar_type()));
  if (x.size(0) < least) fail(ErrorCode::invalid_argument, "Expected at least {} rows in {}, received {}", least, name, x.size(0));
  check_finite(x, name);
  return x.to(at::kDouble);
}

struct Pair {
  at::Tensor a, b;  // [N, D], [M, D] double
};

Pair checked(const at::Tensor& a, const char* a_name, const at::Tensor& b, const char* b_name, int64_t least) {
  check_shape(a, a_name, {-1, -1});
  return {checked(a, a_name, -1, least), checked(b, b_name, a.size(1), least)};
}

at::Tensor covariance(const at::Tensor& x, const at::Tensor& mean) {
  const at::Tensor centred = x - mean;
  return centred.t().mm(centred) / static_cast<double>(x.size(0) - 1);  // [D, D]
}

// Of a positive semi-definite matrix, whose smallest eigenvalues may come out below 0.
at::Tensor square_root(const at::Tensor& matrix) {
  const auto [values, vectors] = at::linalg_eigh(matrix);
  return (vectors * values.clamp_min(0).sqrt()).mm(vectors.t());
}

// Calls `visit(first, distances)` for blocks of rows of `a`: squared distances [rows, M] from rows first, first + 1, ... to all of `b`.
template <typename Visit>
void each_block(const at::Tensor& a, const at::Tensor& b, Visit visit) {
  const at::Tensor b_squares = b.square().sum(1);  // [M]
  for (int64_t first = 0; first < a.size(0); first += kRows) {
    const at::Tensor rows = a.slice(0, first, first + kRows);
    visit(first, (rows.square().sum(1, true) + b_squares - 2 * rows.mm(b.t())).clamp_min_(0));
  }
}

// [N]: sums of the kernel between each row of `a` and all of `b`.
at::Tensor kernel_sums(const at::Tensor& a, const at::Tensor& b, int64_t degree) {
  std::vector<at::Tensor> sums;
  for (int64_t first = 0; first < a.size(0); first += kRows) sums.push_back(a.slice(0, first, first + kRows).mm(b.t()).div_(a.size(1)).add_(1).pow_(degree).sum(1));
  return at::cat(sums);
}

// The same between each row and all others of its set.
at::Tensor kernel_sums_within(const at::Tensor& x, int64_t degree) { return kernel_sums(x, x, degree) - x.square().sum(1).div(x.size(1)).add(1).pow(degree); }

// The jackknife's variance of a mean discrepancy by rows of one set: `within` and `between` are their sums with the other rows of the set and with the `others` of the other set.
double jackknife_variance(const at::Tensor& within, const at::Tensor& between, int64_t others) {
  const auto n = static_cast<double>(within.size(0));
  const at::Tensor left_out = (within.sum() - 2 * within) / ((n - 1) * (n - 2)) - 2 * (between.sum() - between) / ((n - 1) * static_cast<double>(others));  // [N]
  return (left_out - left_out.mean()).square().sum().item<double>() * (n - 1) / n;
}

// [N]: squared distance to the k-th nearest other row.
at::Tensor radii(const at::Tensor& x, int64_t k) {
  std::vector<at::Tensor> found;
  each_block(x, x, [&](int64_t first, at::Tensor distances) {
    distances.diagonal(first).zero_();  // a row is its own nearest, whatever rounding says
    found.push_back(std::get<0>(distances.kthvalue(k + 1, 1)));
  });
  return at::cat(found);
}

// Share of rows of `x` that lie in a ball of `region`.
double share_inside(const at::Tensor& x, const at::Tensor& region, int64_t k) {
  const at::Tensor reach = radii(region, k);
  double inside = 0;
  each_block(x, region, [&](int64_t, const at::Tensor& distances) { inside += distances.le(reach).any(1).sum().item<double>(); });
  return inside / static_cast<double>(x.size(0));
}

Pair matched(const at::Tensor& queries, const at::Tensor& gallery, bool unit) {
  auto [a, b] = checked(queries, "queries", gallery, "gallery", 1);
  if (!unit) return {a, b};
  const auto shortened = [](const at::Tensor& x) { return x / x.norm(2, {1}, true).clamp_min(1e-300); };
  return {shortened(a), shortened(b)};
}

}  // namespace

double frechet_distance(const at::Tensor& a, const at::Tensor& b) {
  const c10::NoGradGuard no_grad;
  const auto [x, y] = checked(a, "a", b, "b", 2);
  const at::Tensor x_mean = x.mean(0), y_mean = y.mean(0);  // [D]
  const at::Tensor x_covariance = covariance(x, x_mean), y_covariance = covariance(y, y_mean);
  // The eigenvalues of Sx Sy are those of the symmetric sqrt(Sx) Sy sqrt(Sx).
  const at::Tensor root = square_root(x_covariance);
  const at::Tensor product = root.mm(y_covariance).mm(root);
  const at::Tensor shared = at::linalg_eigvalsh((product + product.t()) / 2).clamp_min(0).sqrt().sum();
  return ((x_mean - y_mean).square().sum() + x_covariance.trace() + y_covariance.trace() - 2 * shared).item<double>();
}

KernelDistance kernel_distance(const at::Tensor& a, const at::Tensor& b, int64_t degree) {
  const c10::NoGradGuard no_grad;
  check_range(degree, "degree", 1, 16);
  const auto [x, y] = checked(a, "a", b, "b", 3);
  const at::Tensor x_within = kernel_sums_within(x, degree), y_within = kernel_sums_within(y, degree);  // [N], [M]
  const at::Tensor x_between = kernel_sums(x, y, degree), y_between = kernel_sums(y, x, degree);        // [N], [M]
  const auto n = static_cast<double>(x.size(0)), m = static_cast<double>(y.size(0));
  const double distance = (x_within.sum() / (n * (n - 1)) + y_within.sum() / (m * (m - 1)) - 2 * x_between.sum() / (n * m)).item<double>();
  return {distance, std::sqrt(jackknife_variance(x_within, x_between, y.size(0)) + jackknife_variance(y_within, y_between, x.size(0)))};
}

PrecisionRecall precision_recall(const at::Tensor& real, const at::Tensor& made, int64_t k) {
  const c10::NoGradGuard no_grad;
  check_range(k, "k", 1, 1'000'000);
  const auto [x, y] = checked(real, "real", made, "made", k + 1);
  return {share_inside(y, x, k), share_inside(x, y, k)};
}

Neighbours nearest(const at::Tensor& queries, const at::Tensor& gallery, int64_t k, bool unit) {
  const c10::NoGradGuard no_grad;
  const auto [x, y] = matched(queries, gallery, unit);
  check_range(k, "k", 1, y.size(0));
  std::vector<at::Tensor> places, distances;
  each_block(x, y, [&](int64_t, const at::Tensor& block) {
    const auto [values, found] = block.topk(k, 1, /*largest=*/false);
    places.push_back(found);
    distances.push_back(values.sqrt());
  });
  return {at::cat(places), at::cat(distances)};
}

at::Tensor ranks(const at::Tensor& queries, const at::Tensor& gallery, const at::Tensor& wanted, bool unit) {
  const c10::NoGradGuard no_grad;
  const auto [x, y] = matched(queries, gallery, unit);
  check_dtype(wanted, "wanted", at::kLong);
  check_shape(wanted, "wanted", {x.size(0)});
  if (wanted.lt(0).any().item<bool>() || wanted.ge(y.size(0)).any().item<bool>()) fail(ErrorCode::invalid_argument, "Expected rows of the gallery, 0 to {}, in wanted", y.size(0) - 1);
  std::vector<at::Tensor> found;
  each_block(x, y, [&](int64_t first, const at::Tensor& block) {
    const at::Tensor own = block.gather(1, wanted.slice(0, first, first + block.size(0)).unsqueeze(1));  // [rows, 1]
    found.push_back(block.le(own).sum(1));
  });
  return at::cat(found);
}

}  // namespace seedbed::metrics
