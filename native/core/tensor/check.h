#pragma once

#include <ATen/ATen.h>

#include <initializer_list>
#include <string_view>

namespace seedbed {

// Checks the shape of `x`; -1 stands for any size. Throws ERR_SHAPE:
// "latents must have shape [*, 4, *, *], got [2, 3, 64, 64]".
void check_shape(const at::Tensor& x, std::string_view name, std::initializer_list<int64_t> shape);

// Checks the element type of `x`. Throws ERR_DTYPE.
void check_dtype(const at::Tensor& x, std::string_view name, at::ScalarType dtype);

// Checks that every element is finite. Throws ERR_NOT_FINITE with the count of those that are not.
void check_finite(const at::Tensor& x, std::string_view name);

// Checks `low <= value <= high`. Throws ERR_INVALID_ARGUMENT.
void check_range(int64_t value, std::string_view name, int64_t low, int64_t high);
void check_range(double value, std::string_view name, double low, double high);

}  // namespace seedbed
