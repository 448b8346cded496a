#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>

#include <optional>
#include <string_view>

#include "tensor/error.h"

// What layers have in common about their tensors.

namespace seedbed::nn {

// An undefined tensor as the dispatcher and functions with gradients take it.
inline std::optional<at::Tensor> optional(const at::Tensor& x) { return x.defined() ? std::optional(x) : std::nullopt; }

// [*, width] -> [rows, width].
inline at::Tensor rows_of(const at::Tensor& x) { return x.reshape({-1, x.size(-1)}); }

// For gradients that are computed without a graph of their own: they would be taken for constants.
inline void expect_first_derivative(std::string_view layer) {
  expect(!c10::GradMode::is_enabled(), "There are no second derivatives of {}", layer);
}

}  // namespace seedbed::nn
