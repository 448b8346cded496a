#pragma once

#include <memory>

#include "nn/conv.h"
#include "nn/linear.h"

namespace seedbed::nn {

// Two convolutions, each after group norm and silu, with a residual; the time embedding is added between them.
class ResnetBlock2d : public Module {
 public:
  // `time_width` 0: without time embedding, as in the autoencoder.
  ResnetBlock2d(int64_t in, int64_t out, int64_t time_width, int64_t groups, double eps);
  // x [B, in, H, W], time = silu(embedding) [1 or B, time_width] -> [B, out, H, W]; one row serves all
  at::Tensor operator()(at::Tensor x, const at::Tensor& time = {}) const;

 private:
  at::Tensor first_half(const at::Tensor& x, const at::Tensor& time) const;

  GroupNorm norm1_;
  Conv2d conv1_;
  std::unique_ptr<Linear> time_emb_proj_;
  GroupNorm norm2_;
  Conv2d conv2_;
  std::unique_ptr<Conv2d> conv_shortcut_;
};

// Halves height and width by a strided convolution. `padding` 0: a row and a column are added below and to the right.
class Downsample2d : public Module {
 public:
  Downsample2d(int64_t channels, int64_t padding);
  at::Tensor operator()(const at::Tensor& x) const;  // [B, C, H, W] -> [B, C, H / 2, W / 2]

 private:
  bool pad_end_;
  Conv2d conv_;
};

// Nearest-neighbour enlargement to height x width, then a convolution.
class Upsample2d : public Module {
 public:
  explicit Upsample2d(int64_t channels);
  at::Tensor operator()(const at::Tensor& x, int64_t height, int64_t width) const;

 private:
  Conv2d conv_;
};

}  // namespace seedbed::nn
