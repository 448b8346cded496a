#include "tensor/check.h"

#include <fmt/ranges.h>

#include <cmath>

#include "tensor/error.h"

namespace seedbed {

namespace {

std::string shape_text(at::IntArrayRef shape) {
  std::vector<std::string> sizes;
  for (int64_t size : shape) sizes.push_back(size < 0 ? "*" : std::to_string(size));
  return fmt::format("[{}]", fmt::join(sizes, ", "));
}

bool matches(at::IntArrayRef actual, at::IntArrayRef expected) {
  if (actual.size() != expected.size()) return false;
  for (size_t i = 0; i < actual.size(); ++i)
    if (expected[i] >= 0 && actual[i] != expected[i]) return false;
  return true;
}

template <typename Number>
void check_between(Number value, std::string_view name, Number low, Number high) {
  if (!(value >= low && value <= high))
    fail(ErrorCode::invalid_argument, "Expected a number from {} to {} for {}, received {}", low, high, name, value);
}

}  // namespace

void check_shape(const at::Tensor& x, std::string_view name, std::initializer_list<int64_t> shape) {
  const at::IntArrayRef expected(shape);
  if (!matches(x.sizes(), expected))
    fail(ErrorCode::shape, "{} must have shape {}, got {}", name, shape_text(expected), shape_text(x.sizes()));
}

void check_dtype(const at::Tensor& x, std::string_view name, at::ScalarType dtype) {
  if (x.scalar_type() != dtype)
    fail(ErrorCode::dtype, "{} must be {}, got {}", name, c10::toString(dtype), c10::toString(x.scalar_type()));
}

void check_finite(const at::Tensor& x, std::string_view name) {
  if (!at::isFloatingType(x.scalar_type())) return;
  const auto accumulator = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  if (std::isfinite(x.sum(accumulator).item<double>())) return;  // one pass; NaN and infinity cannot leave a finite sum
  const int64_t bad = x.numel() - at::isfinite(x).sum().item<int64_t>();
  if (bad > 0) fail(ErrorCode::not_finite, "Expected finite numbers in {}, received {} of {} NaN or infinite", name, bad, x.numel());
}

void check_range(int64_t value, std::string_view name, int64_t low, int64_t high) { check_between(value, name, low, high); }
void check_range(double value, std::string_view name, double low, double high) { check_between(value, name, low, high); }

}  // namespace seedbed
