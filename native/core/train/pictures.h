#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

// Pictures of one size as a single tensor [N, H, W, 3], uint8: what pre-training reads.

namespace seedbed::train {

// Throws ERR_SHAPE, ERR_DTYPE, or ERR_INVALID_ARGUMENT unless there is at least one picture with sides that are multiples of `factor`.
void check_pictures(const at::Tensor& pictures, const char* name, int64_t factor);

// The pictures of these places [b, 3, H, W] in [-1, 1], channels-last.
at::Tensor pixels_of(const at::Tensor& pictures, const std::vector<int64_t>& places);

// Squares of `side` pixels out of them [b, 3, side, side]; where is a function of the seed and of each picture's position in the run.
at::Tensor crops_of(const at::Tensor& pictures, const std::vector<int64_t>& places, int64_t side, uint64_t seed, int64_t first_position);

// [N] of two batches [N, 3, H, W] as 8-bit pictures, decibels; equal pictures count as 100.
at::Tensor psnr(const at::Tensor& a, const at::Tensor& b);

}  // namespace seedbed::train
