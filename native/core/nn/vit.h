#pragma once

#include <memory>
#include <string>
#include <vector>

#include "nn/classifier_network.h"
#include "nn/linear.h"

namespace seedbed::nn {

struct VitConfig {
  int64_t image_size = 224;  // pixels, both sides
  int64_t patch_size = 16;
  int64_t channels = 3;
  int64_t width = 192;       // D
  int64_t depth = 12;        // blocks
  int64_t heads = 3;
  int64_t mlp_ratio = 4;
  int64_t classes = 1000;    // K
  double drop_path = 0;      // stochastic depth of the last block; grows linearly from 0

  int64_t tokens() const { return 1 + (image_size / patch_size) * (image_size / patch_size); }
};

class PatchEmbed : public Module {
 public:
  explicit PatchEmbed(const VitConfig& config);
  at::Tensor operator()(const at::Tensor& pixels) const;  // [B, C, H, W] -> [B, L - 1, D]

 private:
  struct Projection : Module {
    explicit Projection(const VitConfig& config);
    at::Tensor weight;  // [D, C, patch, patch]
    at::Tensor bias;    // [D]
  } proj_;
  TrainedLinear trained_;
  int64_t patch_size_;
};

// Queries, keys and values in one layer, as timm stores them.
class QueryKeyValue : public Linear {
 public:
  explicit QueryKeyValue(int64_t width) : Linear(width, 3 * width), width_(width) {}
  std::vector<Part> parts() const override { return {{"q", 0, width_}, {"k", width_, width_}, {"v", 2 * width_, width_}}; }

 private:
  int64_t width_;
};

class Attention : public Module {
 public:
  Attention(int64_t width, int64_t heads);
  // [B, L, D] -> [B, queries, D]: the outputs of the first `queries` tokens, which still see all L.
  at::Tensor operator()(const at::Tensor& x, int64_t queries) const;

 private:
  int64_t heads_;
  QueryKeyValue qkv_;
  Linear proj_;
};

class Mlp : public Module {
 public:
  Mlp(int64_t width, int64_t hidden);
  at::Tensor operator()(const at::Tensor& x) const;  // [B, L, D]

 private:
  Linear fc1_, fc2_;
};

class Block : public Module {
 public:
  Block(const VitConfig& config, double drop_path);
  // [B, L, D] -> [B, queries, D]
  at::Tensor operator()(const at::Tensor& x, int64_t queries, const Forward& forward) const;

 private:
  double drop_path_;
  LayerNorm norm1_;
  Attention attn_;
  LayerNorm norm2_;
  Mlp mlp_;
};

// Vision transformer (Dosovitskiy et al. 2020, arXiv 2010.11929) with the structure and parameter names of timm's
// `VisionTransformer`: class token, learnt positions, pre-norm blocks, LayerNorm eps 1e-6, exact GELU.
class VisionTransformer : public ClassifierNetwork {
 public:
  explicit VisionTransformer(const VitConfig& config);

  int64_t image_size() const override { return config_.image_size; }
  int64_t classes() const override { return config_.classes; }
  std::string_view head() const override { return "head"; }
  std::vector<std::string> stages() const override;  // the blocks
  std::string identity() const override;
  void initialise(at::Generator& generator) override;

  at::Tensor operator()(const at::Tensor& pixels, const Forward& forward = {}) const override;        // [B, C, H, W] -> [B, K]
  at::Tensor forward_features(const at::Tensor& pixels, const Forward& forward = {}) const override;  // -> [B, D], class token

 private:
  VitConfig config_;
  at::Tensor cls_token_;  // [1, 1, D]
  at::Tensor pos_embed_;  // [1, L, D]
  PatchEmbed patch_embed_;
  std::vector<std::unique_ptr<Block>> blocks_;
  LayerNorm norm_;
  Linear head_;
};

}  // namespace seedbed::nn
