#include "nn/autoencoder_kl.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "nn/attention.h"
#include "nn/tiles.h"
#include "tensor/check.h"
#include "tensor/error.h"

namespace seedbed::nn {

namespace {

constexpr double kEps = 1e-6;
constexpr double kTileOverlap = 0.25;                        // share of a tile
constexpr double kLogVarianceLow = -30, kLogVarianceHigh = 20;

const VaeConfig& checked(const VaeConfig& c) {
  expect(!c.block_out_channels.empty(), "Expected at least one of block_out_channels");
  check_range(c.latent_channels, "latent_channels", 1, 4096);
  check_range(c.layers_per_block, "layers_per_block", 1, 64);
  check_range(c.norm_groups, "norm_num_groups", 1, 4096);
  check_range(c.sample_size, "sample_size", 1, 65536);
  for (int64_t channels : c.block_out_channels)
    expect(channels > 0 && channels % c.norm_groups == 0, "Expected block_out_channels {} to be a multiple of norm_num_groups {}", channels, c.norm_groups);
  return c;
}

at::Tensor to_network(const at::Tensor& x, const Conv2d& first) { return x.to(first.bias.device(), first.bias.scalar_type(), false, false, at::MemoryFormat::ChannelsLast); }

at::Tensor to_result(const at::Tensor& x, const at::Tensor& input) { return x.to(input.device(), at::kFloat, false, false, at::MemoryFormat::Contiguous); }

// Mean and log variance of moments [B, 2 latent, h, w].
std::pair<at::Tensor, at::Tensor> distribution(const at::Tensor& moments) {
  const auto parts = moments.chunk(2, 1);
  return {parts[0].contiguous(), parts[1].clamp(kLogVarianceLow, kLogVarianceHigh)};
}

// Tiles of `sample_size` pixels, counted in latents. `fixed`: of a side that is no multiple of 4 the overlap is rounded up, since the
// reference's rounding gives parts that do not fit together.
Tiles tiles_of(const VaeConfig& c) {
  const int64_t side = std::max<int64_t>(c.sample_size / c.factor(), 2);
  return {.side = side, .overlap = static_cast<int64_t>(std::ceil(static_cast<double>(side) * kTileOverlap))};
}

}  // namespace

VaeAttention::VaeAttention(int64_t channels, int64_t groups)
    : group_norm_(groups, channels, kEps), to_q_(channels, channels), to_k_(channels, channels), to_v_(channels, channels), to_out_(channels, channels) {
  add_child("group_norm", group_norm_);
  add_child("to_q", to_q_);
  add_child("to_k", to_k_);
  add_child("to_v", to_v_);
  add_child("to_out.0", to_out_);
}

at::Tensor VaeAttention::operator()(const at::Tensor& x) const {
  const auto as_tokens = [](const at::Tensor& map) { return map.permute({0, 2, 3, 1}).flatten(1, 2); };  // [B, H W, C]
  const at::Tensor tokens = as_tokens(group_norm_(x));
  const auto one_head = [](const at::Tensor& t) { return t.unsqueeze(2); };      // [B, H W, 1, C]
  const double scale = 1 / std::sqrt(static_cast<double>(x.size(1)));
  const at::Tensor mixed = attention(one_head(to_q_(tokens)), one_head(to_k_(tokens)), one_head(to_v_(tokens)), scale).squeeze(2);
  return to_out_.add_to(as_tokens(x), mixed).unflatten(1, {x.size(2), x.size(3)}).permute({0, 3, 1, 2});
}

VaeMidBlock::VaeMidBlock(const VaeConfig& c, int64_t channels) : first_(channels, channels, 0, c.norm_groups, kEps), second_(channels, channels, 0, c.norm_groups, kEps) {
  add_child("resnets.0", first_);
  if (c.mid_block_attention) {
    attention_ = std::make_unique<VaeAttention>(channels, c.norm_groups);
    add_child("attentions.0", *attention_);
  }
  add_child("resnets.1", second_);
}

at::Tensor VaeMidBlock::operator()(const at::Tensor& x) const {
  at::Tensor h = first_(x);
  if (attention_) h = (*attention_)(h);
  return second_(std::move(h));
}

VaeEncoder::VaeEncoder(const VaeConfig& c)
    : conv_in_(c.in_channels, c.block_out_channels.front()),
      mid_block_(c, c.block_out_channels.back()),
      conv_norm_out_(c.norm_groups, c.block_out_channels.back(), kEps),
      conv_out_(c.block_out_channels.back(), 2 * c.latent_channels) {
  add_child("conv_in", conv_in_);
  int64_t channels = c.block_out_channels.front();
  for (size_t i = 0; i < c.block_out_channels.size(); ++i) {
    auto& [resnets, resample] = levels_.emplace_back();
    for (int64_t j = 0; j < c.layers_per_block; ++j) {
      resnets.push_back(std::make_unique<ResnetBlock2d>(channels, c.block_out_channels[i], 0, c.norm_groups, kEps));
      add_child(fmt::format("down_blocks.{}.resnets.{}", i, j), *resnets.back());
      channels = c.block_out_channels[i];
    }
    if (i + 1 == c.block_out_channels.size()) break;
    resample = std::make_unique<Downsample2d>(channels, 0);
    add_child(fmt::format("down_blocks.{}.downsamplers.0", i), *resample);
  }
  add_child("mid_block", mid_block_);
  add_child("conv_norm_out", conv_norm_out_);
  add_child("conv_out", conv_out_);
}

at::Tensor VaeEncoder::operator()(const at::Tensor& pixels, const Poll& poll) const {
  at::Tensor x = conv_in_(to_network(pixels, conv_in_));
  for (const auto& [resnets, resample] : levels_) {
    if (poll) poll();
    for (const auto& resnet : resnets) x = (*resnet)(std::move(x));
    if (resample) x = (*resample)(x);
  }
  return conv_out_(conv_norm_out_.silu(mid_block_(x)));
}

VaeDecoder::VaeDecoder(const VaeConfig& c)
    : conv_in_(c.latent_channels, c.block_out_channels.back()),
      mid_block_(c, c.block_out_channels.back()),
      conv_norm_out_(c.norm_groups, c.block_out_channels.front(), kEps),
      conv_out_(c.block_out_channels.front(), c.out_channels) {
  add_child("conv_in", conv_in_);
  add_child("mid_block", mid_block_);
  int64_t channels = c.block_out_channels.back();
  for (size_t i = 0; i < c.block_out_channels.size(); ++i) {
    auto& [resnets, resample] = levels_.emplace_back();
    const int64_t width = c.block_out_channels[c.block_out_channels.size() - 1 - i];
    for (int64_t j = 0; j < c.layers_per_block + 1; ++j) {
      resnets.push_back(std::make_unique<ResnetBlock2d>(channels, width, 0, c.norm_groups, kEps));
      add_child(fmt::format("up_blocks.{}.resnets.{}", i, j), *resnets.back());
      channels = width;
    }
    if (i + 1 == c.block_out_channels.size()) break;
    resample = std::make_unique<Upsample2d>(channels);
    add_child(fmt::format("up_blocks.{}.upsamplers.0", i), *resample);
  }
  add_child("conv_norm_out", conv_norm_out_);
  add_child("conv_out", conv_out_);
}

at::Tensor VaeDecoder::operator()(const at::Tensor& z, const Poll& poll) const {
  at::Tensor x = mid_block_(conv_in_(to_network(z, conv_in_)));
  for (const auto& [resnets, resample] : levels_) {
    if (poll) poll();
    for (const auto& resnet : resnets) x = (*resnet)(std::move(x));
    if (resample) x = (*resample)(x, 2 * x.size(2), 2 * x.size(3));
  }
  return conv_out_(conv_norm_out_.silu(std::move(x)));
}

AutoencoderKl::AutoencoderKl(const VaeConfig& config) : config_(checked(config)), encoder_(config), decoder_(config) {
  const ConvOptions pointwise{.kernel = 1, .padding = 0};
  const int64_t latent = config.latent_channels;
  if (config.use_quant_conv) quant_conv_ = std::make_unique<Conv2d>(2 * latent, 2 * latent, pointwise);
  if (config.use_post_quant_conv) post_quant_conv_ = std::make_unique<Conv2d>(latent, latent, pointwise);
  add_child("encoder", encoder_);
  add_child("decoder", decoder_);
  if (quant_conv_) add_child("quant_conv", *quant_conv_);
  if (post_quant_conv_) add_child("post_quant_conv", *post_quant_conv_);
}

at::Tensor AutoencoderKl::moments(const at::Tensor& pixels, const Poll& poll) const {
  const at::Tensor x = encoder_(pixels, poll);
  return to_result(quant_conv_ ? (*quant_conv_)(x) : x, pixels);
}

void AutoencoderKl::check_pixels(const at::Tensor& pixels) const {
  check_shape(pixels, "pixels", {-1, config_.in_channels, -1, -1});
  expect(pixels.size(2) % config_.factor() == 0 && pixels.size(3) % config_.factor() == 0, "Expected pixels with sides that are multiples of {}, received {} x {}",
         config_.factor(), pixels.size(3), pixels.size(2));
}

std::pair<at::Tensor, at::Tensor> AutoencoderKl::encode(const at::Tensor& pixels, const Poll& poll) const {
  check_pixels(pixels);
  return distribution(moments(pixels, poll));
}

std::pair<at::Tensor, at::Tensor> AutoencoderKl::encode_tiled(const at::Tensor& pixels, const Poll& poll) const {
  check_pixels(pixels);
  Tiles tiles = tiles_of(config_);
  tiles.before = config_.factor();
  return distribution(in_tiles(pixels, tiles, [&](const at::Tensor& tile) { return moments(tile, poll); }));
}

at::Tensor AutoencoderKl::decode(const at::Tensor& z, const Poll& poll) const {
  check_shape(z, "latents", {-1, config_.latent_channels, -1, -1});
  const at::Tensor x = post_quant_conv_ ? (*post_quant_conv_)(to_network(z, *post_quant_conv_)) : z;
  return to_result(decoder_(x, poll), z);
}

at::Tensor AutoencoderKl::decode_tiled(const at::Tensor& z, const Poll& poll) const {
  check_shape(z, "latents", {-1, config_.latent_channels, -1, -1});
  Tiles tiles = tiles_of(config_);
  tiles.after = config_.factor();
  return in_tiles(z, tiles, [&](const at::Tensor& tile) { return decode(tile, poll); });
}

}  // namespace seedbed::nn
