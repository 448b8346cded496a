#include "nn/resnet.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/ranges.h>

#include <cmath>
#include <numeric>

#include "nn/drop_path.h"
#include "nn/init.h"
#include "tensor/check.h"
#include "tensor/error.h"

namespace seedbed::nn {

namespace {

constexpr size_t kStages = 4;
constexpr int64_t kExpansion = 4;  // of a bottleneck's output over its inner width

constexpr ConvOptions kPointwise{.kernel = 1, .stride = 1, .padding = 0, .bias = false};

constexpr ConvOptions square(int64_t stride) { return {.kernel = 3, .stride = stride, .padding = 1, .bias = false}; }

const ResnetConfig& checked(const ResnetConfig& c) {
  check_range(c.image_size, "imageSize", 4, 4096);
  check_range(c.channels, "channels", 1, 16);
  check_range(c.width, "width", 1, 4096);
  check_range(c.classes, "classes", 1, 10'000'000);
  check_range(c.drop_path, "dropPath", 0.0, 0.99);
  expect(c.layers.size() == kStages, "Expected 4 numbers for layers, received {}", c.layers.size());
  for (const int64_t blocks : c.layers) check_range(blocks, "layers", 1, 1024);
  return c;
}

ConvOptions stem_convolution(ResnetStem stem) {
  switch (stem) {
    case ResnetStem::large: return {.kernel = 7, .stride = 2, .padding = 3, .bias = false};
    case ResnetStem::small: return square(1);
  }
  fail(ErrorCode::internal, "unknown stem");
}

int64_t expansion(ResnetBlock block) { return block == ResnetBlock::bottleneck ? kExpansion : 1; }

// Channels behind the last stage.
int64_t features(const ResnetConfig& c) { return (c.width << (kStages - 1)) * expansion(c.block); }

std::unique_ptr<ResidualBlock> make_block(ResnetBlock block, const ResidualSizes& sizes, double drop_path) {
  switch (block) {
    case ResnetBlock::basic: return std::make_unique<BasicBlock>(sizes, drop_path);
    case ResnetBlock::bottleneck: return std::make_unique<Bottleneck>(sizes, drop_path);
  }
  fail(ErrorCode::internal, "unknown block");
}

}  // namespace

Downsample::Downsample(const ResidualSizes& s) : conv_(s.in, s.out, {.kernel = 1, .stride = s.stride, .padding = 0, .bias = false}), norm_(s.out) {
  add_child("0", conv_);
  add_child("1", norm_);
}

at::Tensor Downsample::operator()(const at::Tensor& x, const Forward& forward) const { return norm_(conv_(x), forward); }

ResidualBlock::ResidualBlock(double drop_path) : drop_path_(drop_path) {}

void ResidualBlock::add_downsample(const ResidualSizes& sizes) {
  if (!sizes.changes()) return;
  downsample_ = std::make_unique<Downsample>(sizes);
  add_child("downsample", *downsample_);
}

at::Tensor ResidualBlock::operator()(const at::Tensor& x, const Forward& forward) const {
  const at::Tensor y = drop_path(branch(x, forward), drop_path_, forward);
  return at::relu(y + (downsample_ == nullptr ? x : (*downsample_)(x, forward)));
}

BasicBlock::BasicBlock(const ResidualSizes& s, double drop_path)
    : ResidualBlock(drop_path), conv1_(s.in, s.inner, square(s.stride)), bn1_(s.inner), conv2_(s.inner, s.out, square(1)), bn2_(s.out) {
  add_child("conv1", conv1_);
  add_child("bn1", bn1_);
  add_child("conv2", conv2_);
  add_child("bn2", bn2_);
  add_downsample(s);
}

at::Tensor BasicBlock::branch(const at::Tensor& x, const Forward& forward) const {
  const at::Tensor y = bn1_(conv1_(x), forward).relu_();  // [B, inner, H / stride, W / stride]
  return bn2_(conv2_(y), forward);                        // [B, out, H / stride, W / stride]
}

Bottleneck::Bottleneck(const ResidualSizes& s, double drop_path)
    : ResidualBlock(drop_path), conv1_(s.in, s.inner, kPointwise), bn1_(s.inner), conv2_(s.inner, s.inner, square(s.stride)), bn2_(s.inner), conv3_(s.inner, s.out, kPointwise), bn3_(s.out) {
  add_child("conv1", conv1_);
  add_child("bn1", bn1_);
  add_child("conv2", conv2_);
  add_child("bn2", bn2_);
  add_child("conv3", conv3_);
  add_child("bn3", bn3_);
  add_downsample(s);
}

at::Tensor Bottleneck::branch(const at::Tensor& x, const Forward& forward) const {
  at::Tensor y = bn1_(conv1_(x), forward).relu_();  // [B, inner, H, W]
  y = bn2_(conv2_(y), forward).relu_();             // [B, inner, H / stride, W / stride]
  return bn3_(conv3_(y), forward);                  // [B, out, H / stride, W / stride]
}

void Resnet::Stage::append(std::unique_ptr<ResidualBlock> block) {
  add_child(std::to_string(blocks.size()), *block);
  blocks.push_back(std::move(block));
}

Resnet::Resnet(const ResnetConfig& config)
    : config_(checked(config)), conv1_(config.channels, config.width, stem_convolution(config.stem)), bn1_(config.width), fc_(features(config), config.classes) {
  add_child("conv1", conv1_);
  add_child("bn1", bn1_);
  int64_t channels = config.width;
  for (size_t stage = 0; stage < kStages; ++stage) channels = add_stage(static_cast<int64_t>(stage), channels);
  add_child("fc", fc_);
}

int64_t Resnet::add_stage(int64_t stage, int64_t in) {
  const std::vector<int64_t>& layers = config_.layers;
  const int64_t blocks = std::accumulate(layers.begin(), layers.end(), int64_t{0}), before = std::accumulate(layers.begin(), layers.begin() + stage, int64_t{0});
  const int64_t inner = config_.width << stage, out = inner * expansion(config_.block);
  stages_.push_back(std::make_unique<Stage>());
  for (int64_t i = 0; i < layers[stage]; ++i) {
    const ResidualSizes sizes{.in = i == 0 ? in : out, .inner = inner, .out = out, .stride = i == 0 && stage > 0 ? 2 : 1};
    stages_.back()->append(make_block(config_.block, sizes, drop_path_of_block(config_.drop_path, before + i, blocks)));
  }
  add_child(fmt::format("layer{}", stage + 1), *stages_.back());
  return out;
}

std::vector<std::string> Resnet::stages() const {
  std::vector<std::string> names;
  for (size_t stage = 0; stage < kStages; ++stage) names.push_back(fmt::format("layer{}", stage + 1));
  return names;
}

std::string Resnet::identity() const {
  const ResnetConfig& c = config_;
  return fmt::format("resnet {} {} {} {} {} {} {} {}", c.image_size, c.channels, static_cast<int>(c.block), fmt::join(c.layers, ","), c.width, static_cast<int>(c.stem), c.classes, c.drop_path);
}

void Resnet::initialise(at::Generator& generator) {
  const c10::NoGradGuard no_grad;
  const std::string_view last_norm = config_.block == ResnetBlock::bottleneck ? ".bn3.weight" : ".bn2.weight";  // of a branch: 0, so that a block begins as its shortcut
  for (auto& [name, value] : named_parameters()) {
    if (value.dim() == 4) {
      const double fan_out = static_cast<double>(value.size(0) * value.size(2) * value.size(3));  // He et al. 2015, arXiv 1502.01852
      at::Tensor(value).normal_(0, std::sqrt(2 / fan_out), generator);
    } else if (is_head(name)) {
      fan_in_uniform_(value, features(config_), generator);
    } else if (name.ends_with(last_norm)) {
      value.zero_();
    }
  }
}

at::Tensor Resnet::stem(const at::Tensor& pixels, const Forward& forward) const {
  const at::Tensor x = bn1_(conv1_(pixels), forward).relu_();
  switch (config_.stem) {
    case ResnetStem::large: return at::max_pool2d(x, 3, 2, 1);
    case ResnetStem::small: return x;
  }
  fail(ErrorCode::internal, "unknown stem");
}

at::Tensor Resnet::forward_features(const at::Tensor& pixels, const Forward& forward) const {
  check_shape(pixels, "pixels", {-1, config_.channels, config_.image_size, config_.image_size});
  at::Tensor x = stem(pixels.contiguous(at::MemoryFormat::ChannelsLast), forward.of_stage(0));
  for (size_t stage = 0; stage < kStages; ++stage)
    for (const auto& block : stages_[stage]->blocks) x = (*block)(x, forward.of_stage(static_cast<int64_t>(stage)));
  return x.mean({2, 3});  // [B, D]
}

at::Tensor Resnet::operator()(const at::Tensor& pixels, const Forward& forward) const { return fc_(forward_features(pixels, forward)); }

}  // namespace seedbed::nn
