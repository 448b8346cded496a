#include "nn/unet_2d_condition.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "nn/lora.h"
#include "nn/recompute.h"
#include "tensor/check.h"
#include "tensor/error.h"

namespace seedbed::nn {

namespace {

constexpr int64_t kTimeWidthRatio = 4;
constexpr double kLongestPeriod = 10000;
constexpr int64_t kFreeUThreshold = 1;

const UnetConfig& checked(const UnetConfig& c) {
  const size_t levels = c.block_out_channels.size();
  expect(levels > 0 && c.down_attention.size() == levels && c.up_attention.size() == levels && c.attention_heads.size() == levels && c.layers_per_block.size() == levels,
         "Expected as many down blocks, up blocks, head counts and layers_per_block as block_out_channels, received {}, {}, {}, {} and {}", c.down_attention.size(),
         c.up_attention.size(), c.attention_heads.size(), c.layers_per_block.size(), levels);
  check_range(c.in_channels, "in_channels", 1, 4096);
  check_range(c.out_channels, "out_channels", 1, 4096);
  check_range(c.cross_attention_dim, "cross_attention_dim", 1, 65536);
  check_range(c.norm_groups, "norm_num_groups", 1, 4096);
  for (size_t i = 0; i < levels; ++i) {
    const int64_t channels = c.block_out_channels[i];
    check_range(channels, "block_out_channels", 1, 65536);
    check_range(c.attention_heads[i], "attention heads", 1, channels);
    check_range(c.layers_per_block[i], "layers_per_block", 1, 64);
    expect(channels % c.norm_groups == 0 && channels % c.attention_heads[i] == 0,
           "Expected block_out_channels {} to be a multiple of norm_num_groups {} and of the heads {}", channels, c.norm_groups, c.attention_heads[i]);
  }
  return c;
}

int64_t time_width(const UnetConfig& c) { return kTimeWidthRatio * c.block_out_channels.front(); }

// Scales the low frequencies (around the centre of the spectrum) of x [B, C, h, w]; FreeU, eq. 5.
at::Tensor scale_low_frequencies(const at::Tensor& x, double scale) {
  at::Tensor spectrum = at::fft_fftshift(at::fft_fft2(x.to(at::kFloat)), {-2, -1});
  at::Tensor mask = at::ones({x.size(2), x.size(3)}, x.options().dtype(at::kFloat));
  const auto centre = [&](int64_t dim) { return std::pair(x.size(dim) / 2 - kFreeUThreshold, x.size(dim) / 2 + kFreeUThreshold); };
  const auto [top, bottom] = centre(2);
  const auto [left, right] = centre(3);
  mask.slice(0, std::max<int64_t>(top, 0), bottom).slice(1, std::max<int64_t>(left, 0), right).fill_(scale);
  return at::real(at::fft_ifft2(at::fft_ifftshift(spectrum * mask, {-2, -1}))).to(x.scalar_type());
}

at::Tensor scale_first_half(const at::Tensor& x, double scale) {
  const auto halves = x.tensor_split(at::IntArrayRef({x.size(1) / 2}), 1);
  return at::cat({halves[0] * scale, halves[1]}, 1);
}

}  // namespace

at::Tensor timestep_features(const at::Tensor& timesteps, int64_t width, bool flip_sin_to_cos, double freq_shift) {
  const int64_t half = width / 2;
  const at::Tensor exponent = at::arange(half, timesteps.options().dtype(at::kFloat)) * (-std::log(kLongestPeriod) / (static_cast<double>(half) - freq_shift));
  const at::Tensor angles = timesteps.to(at::kFloat).unsqueeze(1) * at::exp(exponent);  // [B, half]
  const at::Tensor features = flip_sin_to_cos ? at::cat({at::cos(angles), at::sin(angles)}, 1) : at::cat({at::sin(angles), at::cos(angles)}, 1);
  return width % 2 == 0 ? features : at::constant_pad_nd(features, {0, 1});
}

TimestepEmbedding::TimestepEmbedding(int64_t in, int64_t width) : linear_1_(in, width), linear_2_(width, width) {
  add_child("linear_1", linear_1_);
  add_child("linear_2", linear_2_);
}

at::Tensor TimestepEmbedding::operator()(const at::Tensor& features) const { return linear_2_(at::silu(linear_1_(features))); }

void UnetBlock::add_resnet(const UnetConfig& config, int64_t in, int64_t out) {
  layers_.push_back({std::make_unique<ResnetBlock2d>(in, out, time_width(config), config.norm_groups, config.norm_eps), nullptr});
  add_child(fmt::format("resnets.{}", layers_.size() - 1), *layers_.back().resnet);
}

void UnetBlock::add_attention(const UnetConfig& config, const std::string& name, int64_t channels, int64_t heads) {
  const std::string child = fmt::format("attentions.{}", layers_.size() - 1);
  Layer& layer = layers_.back();
  layer.attention = std::make_unique<Transformer2d>(name + "." + child, channels, config.cross_attention_dim, heads, config.norm_groups, config.use_linear_projection);
  add_child(child, *layer.attention);
}

at::Tensor UnetBlock::run(const Layer& layer, at::Tensor x, const UnetContext& context) const {
  if (context.poll) context.poll();
  const auto body = [&layer](at::Tensor x, const UnetContext& context) {
    const at::Tensor h = (*layer.resnet)(std::move(x), context.time);
    return layer.attention ? (*layer.attention)(h, context) : h;
  };
  if (!context.recompute) return body(std::move(x), context);
  return recompute(
      [body, context, loras = active_loras()](const std::vector<at::Tensor>& inputs) {
        const LoraScope scope(loras);
        UnetContext again = context;
        std::tie(again.prompt, again.time) = std::tie(inputs[1], inputs[2]);
        return body(inputs[0], again);
      },
      {x, context.prompt, context.time});
}

DownBlock::DownBlock(const UnetConfig& c, size_t level) {
  const int64_t in = level == 0 ? c.block_out_channels[0] : c.block_out_channels[level - 1], out = c.block_out_channels[level];
  for (int64_t i = 0; i < c.layers_per_block[level]; ++i) {
    add_resnet(c, i == 0 ? in : out, out);
    if (c.down_attention[level]) add_attention(c, fmt::format("down_blocks.{}", level), out, c.attention_heads[level]);
  }
  if (level + 1 == c.block_out_channels.size()) return;
  downsampler_ = std::make_unique<Downsample2d>(out, 1);
  add_child("downsamplers.0", *downsampler_);
}

at::Tensor DownBlock::operator()(at::Tensor x, const UnetContext& context, std::vector<at::Tensor>& skips, size_t most) const {
  for (const Layer& layer : layers_)
    if (skips.size() < most) skips.push_back(x = run(layer, x, context));
  if (downsampler_ && skips.size() < most) skips.push_back(x = (*downsampler_)(x));
  return x;
}

MidBlock::MidBlock(const UnetConfig& c) {
  const int64_t channels = c.block_out_channels.back();
  add_resnet(c, channels, channels);
  add_attention(c, "mid_block", channels, c.attention_heads.back());
  add_resnet(c, channels, channels);
}

at::Tensor MidBlock::operator()(const at::Tensor& x, const UnetContext& context) const { return run(layers_[1], run(layers_[0], x, context), context); }

UpBlock::UpBlock(const UnetConfig& c, size_t index) : index_(index) {
  const auto& widths = c.block_out_channels;
  const size_t level = widths.size() - 1 - index;
  const int64_t out = widths[level], before = index == 0 ? out : widths[level + 1];
  const int64_t layers = c.layers_per_block[level] + 1;
  for (int64_t i = 0; i < layers; ++i) {
    const int64_t skip = i + 1 < layers ? out : widths[level == 0 ? 0 : level - 1];
    add_resnet(c, (i == 0 ? before : out) + skip, out);
    if (c.up_attention[index]) add_attention(c, fmt::format("up_blocks.{}", index), out, c.attention_heads[level]);
  }
  if (level == 0) return;
  upsampler_ = std::make_unique<Upsample2d>(out);
  add_child("upsamplers.0", *upsampler_);
}

at::Tensor UpBlock::operator()(at::Tensor x, const UnetContext& context, std::vector<at::Tensor>& skips, const std::optional<FreeU>& free_u, size_t first, size_t last) const {
  for (size_t i = first; i < last; ++i) {
    at::Tensor skip = skips.back();
    skips.pop_back();
    if (free_u && index_ < 2) {
      x = scale_first_half(x, index_ == 0 ? free_u->b1 : free_u->b2);
      skip = scale_low_frequencies(skip, index_ == 0 ? free_u->s1 : free_u->s2);
    }
    x = run(layers_[i], at::cat({x, skip}, 1), context);
  }
  return upsampler_ && last == layers_.size() ? (*upsampler_)(x, skips.back().size(2), skips.back().size(3)) : x;
}

Unet2dCondition::Unet2dCondition(const UnetConfig& config)
    : config_(checked(config)),
      conv_in_(config.in_channels, config.block_out_channels.front()),
      time_embedding_(config.block_out_channels.front(), time_width(config)),
      mid_block_(config),
      conv_norm_out_(config.norm_groups, config.block_out_channels.front(), config.norm_eps),
      conv_out_(config.block_out_channels.front(), config.out_channels) {
  add_child("conv_in", conv_in_);
  add_child("time_embedding", time_embedding_);
  for (size_t i = 0; i < config.block_out_channels.size(); ++i) {
    down_blocks_.push_back(std::make_unique<DownBlock>(config, i));
    add_child(fmt::format("down_blocks.{}", i), *down_blocks_.back());
  }
  add_child("mid_block", mid_block_);
  for (size_t i = 0; i < config.block_out_channels.size(); ++i) {
    up_blocks_.push_back(std::make_unique<UpBlock>(config, i));
    add_child(fmt::format("up_blocks.{}", i), *up_blocks_.back());
  }
  add_child("conv_norm_out", conv_norm_out_);
  add_child("conv_out", conv_out_);
}

int64_t Unet2dCondition::branches() const {
  int64_t layers = 0;
  for (const auto& block : up_blocks_) layers += static_cast<int64_t>(block->size());
  return layers - 1;
}

at::Tensor Unet2dCondition::way_up(at::Tensor x, const UnetContext& context, std::vector<at::Tensor>& skips, const std::optional<FreeU>& free_u, size_t first, size_t last) const {
  size_t begin = 0;
  for (const auto& block : up_blocks_) {
    const size_t from = std::clamp(first, begin, begin + block->size()) - begin, to = std::clamp(last, begin, begin + block->size()) - begin;
    if (from < to) x = (*block)(x, context, skips, free_u, from, to);
    begin += block->size();
  }
  return x;
}

at::Tensor Unet2dCondition::operator()(const at::Tensor& latents, const at::Tensor& timesteps, const at::Tensor& prompt, const UnetOptions& options) const {
  const int64_t B = latents.size(0);
  check_shape(latents, "latents", {-1, config_.in_channels, -1, -1});
  check_shape(timesteps, "timesteps", {B});
  check_shape(prompt, "prompt", {B, -1, config_.cross_attention_dim});
  expect(options.control == nullptr || !options.merging, "Expected no attention control together with tokenMerging");
  const at::ScalarType dtype = conv_in_.bias.scalar_type();
  const at::Device device = conv_in_.bias.device();
  // With the same timestep for all, its embedding is part of a convolution's bias.
  const bool same_time = B > 0 && (timesteps == timesteps[0]).all().item<bool>();
  const at::Tensor features = timestep_features(same_time ? timesteps.slice(0, 0, 1) : timesteps, config_.block_out_channels.front(), config_.flip_sin_to_cos, config_.freq_shift);
  const UnetContext context{.prompt = prompt.to(device, dtype),
                            .time = at::silu(time_embedding_(features.to(device, dtype))),
                            .control = options.control,
                            .merging = options.merging ? &*options.merging : nullptr,
                            .positions = latents.size(2) * latents.size(3),
                            .timestep = options.control == nullptr && !options.merging ? 0 : timesteps[0].item<double>(),
                            .cache = options.cache,
                            .poll = options.poll,
                            .recompute = options.recompute};
  at::Tensor x = conv_in_(latents.to(device, dtype, /*non_blocking=*/false, /*copy=*/false, at::MemoryFormat::ChannelsLast));
  std::vector<at::Tensor> skips{x};
  FeatureCache* const kept = options.features;
  const bool whole = kept == nullptr || kept->next_is_whole();
  const auto layers = static_cast<size_t>(branches()) + 1, shallow = kept == nullptr ? 0 : static_cast<size_t>(kept->branch()) + 1;
  for (const auto& block : down_blocks_) x = (*block)(x, context, skips, whole ? layers : shallow);
  if (whole) x = way_up(mid_block_(x, context), context, skips, options.free_u, 0, layers - shallow);
  if (kept != nullptr) x = kept->exchange(x, whole);
  x = way_up(x, context, skips, options.free_u, layers - shallow, layers);
  return conv_out_(conv_norm_out_.silu(std::move(x))).to(latents.device(), at::kFloat, false, false, at::MemoryFormat::Contiguous);
}

}  // namespace seedbed::nn
