#pragma once

#include <functional>
#include <unordered_map>
#include <utility>

#include "nn/attention_control.h"
#include "nn/conv.h"
#include "nn/linear.h"
#include "nn/token_merging.h"

namespace seedbed::nn {

// Keys and values of the prompt, per layer, kept over the steps of one run: the prompt does not change.
class PromptCache {
 public:
  using KeyValue = std::pair<at::Tensor, at::Tensor>;
  KeyValue* find(const Module* layer);
  void put(const Module* layer, KeyValue value);

 private:
  std::unordered_map<const Module*, KeyValue> entries_;
};

// What every layer of a denoising network may need during one call, beside its input.
struct UnetContext {
  at::Tensor prompt;                     // [B, L, cross_attention_dim]
  at::Tensor time;                       // silu(time embedding) [1 or B, D]
  AttentionControl* control = nullptr;   // not owned
  const TokenMerging* merging = nullptr; // not owned
  int64_t positions = 0;                 // of the latents: where `merging` acts
  double timestep = 0;                   // for `control` and `merging`
  PromptCache* cache = nullptr;          // not owned
  std::function<void()> poll;            // called between and in blocks; throws to cancel
  bool recompute = false;                // keep little for the backward pass
};

// Multi-head attention of diffusers' `Attention`: separate projections without bias, output projection with.
class CrossAttention : public Module {
 public:
  CrossAttention(std::string name, int64_t width, int64_t context_width, int64_t heads, bool cross);
  at::Tensor operator()(const at::Tensor& x, int64_t height, int64_t width, const UnetContext& context) const;                                // [B, H W, D]
  at::Tensor add_to(const at::Tensor& residual, const at::Tensor& x, int64_t height, int64_t width, const UnetContext& context) const;  // residual + the same

 private:
  at::Tensor heads_of(const at::Tensor& x, int64_t height, int64_t width, const UnetContext& context) const;
  PromptCache::KeyValue keys_and_values(const at::Tensor& prompt, const UnetContext& context) const;
  at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t height, int64_t width, const UnetContext& context) const;

  AttentionSite site_;
  Linear to_q_, to_k_, to_v_, to_out_;
};

// Linear to twice the hidden width, gated by gelu, linear back.
class GegluFeedForward : public Module {
 public:
  explicit GegluFeedForward(int64_t width);
  at::Tensor add_to(const at::Tensor& residual, const at::Tensor& x) const;  // residual + y, both [B, L, D]

 private:
  Linear in_, out_;
};

// Self-attention, attention to the prompt, feed-forward, each after a norm and with a residual.
class BasicTransformerBlock : public Module {
 public:
  BasicTransformerBlock(const std::string& name, int64_t width, int64_t context_width, int64_t heads);
  at::Tensor operator()(const at::Tensor& x, int64_t height, int64_t width, const UnetContext& context) const;  // [B, H W, D]

 private:
  at::Tensor attend_to_itself(const at::Tensor& x, int64_t height, int64_t width, const UnetContext& context) const;

  LayerNorm norm1_;
  CrossAttention attn1_;
  LayerNorm norm2_;
  CrossAttention attn2_;
  LayerNorm norm3_;
  GegluFeedForward ff_;
};

// The transformer of a UNet level: positions become tokens and come back with a residual.
class Transformer2d : public Module {
 public:
  Transformer2d(const std::string& name, int64_t channels, int64_t context_width, int64_t heads, int64_t groups, bool linear_projection);
  at::Tensor operator()(const at::Tensor& x, const UnetContext& context) const;  // [B, C, H, W]

 private:
  GroupNorm norm_;
  Projection proj_in_, proj_out_;
  BasicTransformerBlock block_;
};

}  // namespace seedbed::nn
