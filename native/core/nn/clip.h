#pragma once

#include <memory>
#include <vector>

#include "nn/conv.h"
#include "nn/linear.h"

// The towers of CLIP (Radford et al. 2021) with transformers' parameter names.

namespace seedbed::nn {

enum class Activation { quick_gelu, gelu };

struct ClipLayers {
  int64_t width = 768;              // hidden_size
  int64_t intermediate_size = 3072;
  int64_t layers = 12;
  int64_t heads = 12;
  Activation activation = Activation::quick_gelu;
  double layer_norm_eps = 1e-5;
  int64_t projection_dim = 0;       // 0: without projection
};

struct ClipTextConfig : ClipLayers {
  int64_t vocab_size = 49408;
  int64_t max_positions = 77;
  int64_t eos_token_id = 2;         // 2: older configs, where the end is the largest id
};

struct ClipVisionConfig : ClipLayers {
  int64_t image_size = 224;
  int64_t patch_size = 32;
  int64_t channels = 3;
};

class ClipAttention : public Module {
 public:
  explicit ClipAttention(const ClipLayers& config);
  at::Tensor add_to(const at::Tensor& residual, const at::Tensor& x, bool causal) const;  // residual + y, both [B, L, D]

 private:
  int64_t heads_;
  Linear k_proj_, v_proj_, q_proj_, out_proj_;
};

class ClipLayer : public Module {
 public:
  explicit ClipLayer(const ClipLayers& config);
  at::Tensor operator()(const at::Tensor& x, bool causal) const;  // [B, L, D]

 private:
  struct Mlp : Module {
    explicit Mlp(const ClipLayers& config);
    at::Tensor add_to(const at::Tensor& residual, const at::Tensor& x) const;
    Activation activation;
    Linear fc1, fc2;
  };

  ClipAttention self_attn_;
  LayerNorm layer_norm1_;
  Mlp mlp_;
  LayerNorm layer_norm2_;
};

class ClipEncoder : public Module {
 public:
  explicit ClipEncoder(const ClipLayers& config);
  // The output of all layers but the last `skipped`.
  at::Tensor operator()(at::Tensor x, bool causal, int64_t skipped = 0) const;

  int64_t layers() const { return static_cast<int64_t>(layers_.size()); }

 private:
  std::vector<std::unique_ptr<ClipLayer>> layers_;
};

// On the tower's device and of its type, as `ImageEncoding`.
struct TextEncoding {
  at::Tensor states;     // [B, L, D] after the final norm; what the UNet reads
  at::Tensor pooled;     // [B, D] the state at the end token
  at::Tensor projected;  // [B, P], undefined without projection
};

class ClipText : public Module {
 public:
  explicit ClipText(const ClipTextConfig& config);

  const ClipTextConfig& config() const { return config_; }

  // ids [B, L] int64, read here: best on the CPU; from the size of the vocabulary on, those of active adapters. `skipped` layers are left out at the end ("clip skip"; 1 gives the penultimate layer).
  TextEncoding operator()(const at::Tensor& ids, int64_t skipped = 0) const;

 private:
  at::Tensor embed(const at::Tensor& ids) const;          // [B, L, D]
  at::Tensor end_positions(const at::Tensor& ids) const;  // [B]

  ClipTextConfig config_;
  at::Tensor token_embedding_;     // [vocabulary, D]
  at::Tensor position_embedding_;  // [L, D]
  ClipEncoder encoder_;
  LayerNorm final_layer_norm_;
  std::unique_ptr<Linear> text_projection_;
};

struct ImageEncoding {
  at::Tensor states;     // [B, L, D] of the last layer
  at::Tensor pooled;     // [B, D] class token after the norm
  at::Tensor projected;  // [B, P], undefined without projection
};

class ClipVision : public Module {
 public:
  explicit ClipVision(const ClipVisionConfig& config);

  const ClipVisionConfig& config() const { return config_; }

  ImageEncoding operator()(const at::Tensor& pixels) const;  // [B, 3, size, size], normalised

 private:
  ClipVisionConfig config_;
  at::Tensor class_embedding_;     // [D]
  at::Tensor position_embedding_;  // [L, D]
  Conv2d patch_embedding_;
  LayerNorm pre_layrnorm_;  // the reference's spelling
  ClipEncoder encoder_;
  LayerNorm post_layernorm_;
  std::unique_ptr<Linear> visual_projection_;
};

}  // namespace seedbed::nn
