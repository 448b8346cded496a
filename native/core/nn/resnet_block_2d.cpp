#include "nn/resnet_block_2d.h"

#include <ATen/ATen.h>

namespace seedbed::nn {

ResnetBlock2d::ResnetBlock2d(int64_t in, int64_t out, int64_t time_width, int64_t groups, double eps)
    : norm1_(groups, in, eps), conv1_(in, out), norm2_(groups, out, eps), conv2_(out, out) {
  add_child("norm1", norm1_);
  add_child("conv1", conv1_);
  if (time_width > 0) {
    time_emb_proj_ = std::make_unique<Linear>(time_width, out);
    add_child("time_emb_proj", *time_emb_proj_);
  }
  add_child("norm2", norm2_);
  add_child("conv2", conv2_);
  if (in != out) {
    conv_shortcut_ = std::make_unique<Conv2d>(in, out, ConvOptions{.kernel = 1, .padding = 0});
    add_child("conv_shortcut", *conv_shortcut_);
  }
}

at::Tensor ResnetBlock2d::operator()(at::Tensor x, const at::Tensor& time) const {
  const at::Tensor skip = conv_shortcut_ ? (*conv_shortcut_)(x) : x;
  at::Tensor h = norm1_.silu(std::move(x));
  h = first_half(h, time);
  return conv2_.add_to(skip, norm2_.silu(std::move(h)));
}

at::Tensor ResnetBlock2d::first_half(const at::Tensor& x, const at::Tensor& time) const {
  if (!time_emb_proj_) return conv1_(x);
  const at::Tensor shift = (*time_emb_proj_)(time);  // [1 or B, out]
  if (shift.size(0) == 1) return conv1_.with_bias(x, conv1_.bias + shift[0]);
  return conv1_(x) + shift.unsqueeze(-1).unsqueeze(-1);
}

Downsample2d::Downsample2d(int64_t channels, int64_t padding)
    : pad_end_(padding == 0), conv_(channels, channels, {.stride = 2, .padding = padding}) {
  add_child("conv", conv_);
}

at::Tensor Downsample2d::operator()(const at::Tensor& x) const { return conv_(pad_end_ ? at::constant_pad_nd(x, {0, 1, 0, 1}) : x); }

Upsample2d::Upsample2d(int64_t channels) : conv_(channels, channels) { add_child("conv", conv_); }

at::Tensor Upsample2d::operator()(const at::Tensor& x, int64_t height, int64_t width) const {
  return conv_(at::upsample_nearest2d(x, {height, width}));
}

}  // namespace seedbed::nn
