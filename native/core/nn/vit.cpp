#include "nn/vit.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <cmath>

#include "nn/attention.h"
#include "nn/drop_path.h"
#include "nn/init.h"
#include "tensor/check.h"
#include "tensor/error.h"

namespace seedbed::nn {

namespace {

constexpr double kLayerNormEps = 1e-6;
constexpr double kInitStd = 0.02;
constexpr double kClassTokenStd = 1e-6;

const VitConfig& checked(const VitConfig& c) {
  check_range(c.image_size, "imageSize", 4, 4096);
  check_range(c.patch_size, "patchSize", 1, c.image_size);
  check_range(c.channels, "channels", 1, 16);
  check_range(c.width, "width", 1, 65536);
  check_range(c.depth, "depth", 1, 1024);
  check_range(c.heads, "heads", 1, c.width);
  check_range(c.mlp_ratio, "mlpRatio", 1, 64);
  check_range(c.classes, "classes", 1, 10'000'000);
  check_range(c.drop_path, "dropPath", 0.0, 0.99);
  expect(c.image_size % c.patch_size == 0, "Expected imageSize to be a multiple of patchSize, received {} and {}", c.image_size, c.patch_size);
  expect(c.width % c.heads == 0, "Expected width to be a multiple of heads, received {} and {}", c.width, c.heads);
  return c;
}

}  // namespace

PatchEmbed::Projection::Projection(const VitConfig& c)
    : weight(add_parameter("weight", at::zeros({c.width, c.channels, c.patch_size, c.patch_size}))), bias(add_parameter("bias", at::zeros({c.width}))) {}

PatchEmbed::PatchEmbed(const VitConfig& config) : proj_(config), patch_size_(config.patch_size) { add_child("proj", proj_); }

at::Tensor PatchEmbed::operator()(const at::Tensor& pixels) const {
  // A convolution whose stride is its kernel is a matrix product over patches, with a cheaper backward pass.
  const int64_t B = pixels.size(0), C = pixels.size(1), rows = pixels.size(2) / patch_size_, columns = pixels.size(3) / patch_size_, p = patch_size_;
  const at::Tensor patches = pixels.reshape({B, C, rows, p, columns, p}).permute({0, 2, 4, 1, 3, 5}).reshape({B, rows * columns, C * p * p});
  if (TrainedLinear::takes(patches, proj_.weight)) return trained_(patches, proj_.weight, proj_.bias, {});
  return at::linear(patches, proj_.weight.flatten(1), proj_.bias);  // [B, L - 1, D]
}

Attention::Attention(int64_t width, int64_t heads) : heads_(heads), qkv_(width), proj_(width, width) {
  add_child("qkv", qkv_);
  add_child("proj", proj_);
}

at::Tensor Attention::operator()(const at::Tensor& x, int64_t queries) const {
  const int64_t D = x.size(2), d = D / heads_;
  const auto split = [&](const at::Tensor& rows, int64_t parts) { return rows.unflatten(-1, {parts, heads_, d}).unbind(2); };  // each [B, L or queries, heads, d]
  std::vector<at::Tensor> qkv;
  if (queries == x.size(1)) {
    qkv = split(qkv_(x), 3);
  } else {
    qkv = split(qkv_.rows(x.slice(1, 0, queries), 0, D), 1);
    for (const at::Tensor& part : split(qkv_.rows(x, D, 2 * D), 2)) qkv.push_back(part);
  }
  return proj_(attention(qkv[0], qkv[1], qkv[2], 1 / std::sqrt(static_cast<double>(d))).flatten(2));
}

Mlp::Mlp(int64_t width, int64_t hidden) : fc1_(width, hidden), fc2_(hidden, width) {
  add_child("fc1", fc1_);
  add_child("fc2", fc2_);
}

at::Tensor Mlp::operator()(const at::Tensor& x) const { return fc2_(at::gelu(fc1_(x))); }

Block::Block(const VitConfig& c, double drop_path)
    : drop_path_(drop_path), norm1_(c.width, kLayerNormEps), attn_(c.width, c.heads), norm2_(c.width, kLayerNormEps), mlp_(c.width, c.width * c.mlp_ratio) {
  add_child("norm1", norm1_);
  add_child("attn", attn_);
  add_child("norm2", norm2_);
  add_child("mlp", mlp_);
}

at::Tensor Block::operator()(const at::Tensor& x, int64_t queries, const Forward& forward) const {
  const at::Tensor y = x.slice(1, 0, queries) + drop_path(attn_(norm1_(x), queries), drop_path_, forward);
  return y + drop_path(mlp_(norm2_(y)), drop_path_, forward);
}

VisionTransformer::VisionTransformer(const VitConfig& config)
    : config_(checked(config)),
      cls_token_(add_parameter("cls_token", at::zeros({1, 1, config.width}))),
      pos_embed_(add_parameter("pos_embed", at::zeros({1, config.tokens(), config.width}))),
      patch_embed_(config),
      norm_(config.width, kLayerNormEps),
      head_(config.width, config.classes) {
  add_child("patch_embed", patch_embed_);
  for (int64_t i = 0; i < config.depth; ++i) {
    blocks_.push_back(std::make_unique<Block>(config, drop_path_of_block(config.drop_path, i, config.depth)));
    add_child(fmt::format("blocks.{}", i), *blocks_.back());
  }
  add_child("norm", norm_);
  add_child("head", head_);
}

std::vector<std::string> VisionTransformer::stages() const {
  std::vector<std::string> names;
  for (int64_t i = 0; i < config_.depth; ++i) names.push_back(fmt::format("blocks.{}", i));
  return names;
}

std::string VisionTransformer::identity() const {
  const VitConfig& c = config_;
  return fmt::format("{} {} {} {} {} {} {} {} {}", c.image_size, c.patch_size, c.channels, c.width, c.depth, c.heads, c.mlp_ratio, c.classes, c.drop_path);
}

void VisionTransformer::initialise(at::Generator& generator) {
  const c10::NoGradGuard no_grad;
  const int64_t patch_values = config_.channels * config_.patch_size * config_.patch_size;
  for (auto& [name, value] : named_parameters()) {
    if (name == "cls_token")
      at::Tensor(value).normal_(0, kClassTokenStd, generator);
    else if (name.starts_with("patch_embed"))
      fan_in_uniform_(value, patch_values, generator);
    else if (name == "pos_embed" || value.dim() == 2)
      trunc_normal_(value, kInitStd, generator);
  }
}

at::Tensor VisionTransformer::forward_features(const at::Tensor& pixels, const Forward& forward) const {
  check_shape(pixels, "pixels", {-1, config_.channels, config_.image_size, config_.image_size});
  at::Tensor x = patch_embed_(pixels);                                                                  // [B, L - 1, D]
  x = at::cat({cls_token_.expand({x.size(0), 1, config_.width}).to(x.scalar_type()), x}, 1) + pos_embed_;  // [B, L, D]
  // Only the class token is read at the end, so the last block computes no other.
  for (int64_t i = 0; i < config_.depth; ++i) x = (*blocks_[i])(x, i == config_.depth - 1 ? 1 : x.size(1), forward.of_stage(i));
  return norm_(x.select(1, 0));  // [B, D]
}

at::Tensor VisionTransformer::operator()(const at::Tensor& pixels, const Forward& forward) const { return head_(forward_features(pixels, forward)); }

}  // namespace seedbed::nn
