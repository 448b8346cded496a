#include "nn/transformer_2d.h"

#include <ATen/ATen.h>

#include <cmath>

#include "nn/attention.h"
#include "nn/fused.h"

namespace seedbed::nn {

namespace {

constexpr double kLayerNormEps = 1e-5;
constexpr double kGroupNormEps = 1e-6;
constexpr int64_t kHiddenRatio = 4;

at::Tensor split_heads(const at::Tensor& x, int64_t heads) { return x.unflatten(-1, {heads, x.size(-1) / heads}); }  // [B, L, heads, d]

}  // namespace

PromptCache::KeyValue* PromptCache::find(const Module* layer) {
  const auto found = entries_.find(layer);
  return found == entries_.end() ? nullptr : &found->second;
}

void PromptCache::put(const Module* layer, KeyValue value) { entries_.insert_or_assign(layer, std::move(value)); }

CrossAttention::CrossAttention(std::string name, int64_t width, int64_t context_width, int64_t heads, bool cross)
    : site_{.name = std::move(name), .cross = cross, .heads = heads, .height = 0, .width = 0, .timestep = 0},
      to_q_(width, width, false),
      to_k_(context_width, width, false),
      to_v_(context_width, width, false),
      to_out_(width, width) {
  add_child("to_q", to_q_);
  add_child("to_k", to_k_);
  add_child("to_v", to_v_);
  add_child("to_out.0", to_out_);
}

PromptCache::KeyValue CrossAttention::keys_and_values(const at::Tensor& prompt, const UnetContext& context) const {
  const bool cached = context.cache != nullptr;
  if (cached)
    if (const auto* entry = context.cache->find(this)) return *entry;
  const auto [k, v] = Linear::together<2>({&to_k_, &to_v_}, prompt);
  PromptCache::KeyValue result{split_heads(k, site_.heads), split_heads(v, site_.heads)};
  if (cached) context.cache->put(this, result);
  return result;
}

at::Tensor CrossAttention::attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t height, int64_t width, const UnetContext& context) const {
  AttentionInputs inputs{q, k, v};
  AttentionSite site = site_;
  if (context.control != nullptr) {
    std::tie(site.height, site.width, site.timestep) = std::tuple(height, width, context.timestep);
    context.control->edit(site, inputs);
  }
  const double scale = 1 / std::sqrt(static_cast<double>(inputs.query.size(-1)));
  if (context.control == nullptr || !context.control->wants_probabilities(site)) return attention(inputs.query, inputs.key, inputs.value, scale);
  const auto heads_first = [](const at::Tensor& t) { return t.transpose(1, 2).to(at::kFloat); };
  at::Tensor p = at::matmul(heads_first(inputs.query) * scale, heads_first(inputs.key).transpose(-1, -2)).softmax(-1);  // [B, heads, Lq, Lk]
  p = context.control->probabilities(site, p);
  return at::matmul(p, heads_first(inputs.value)).transpose(1, 2).to(q.scalar_type()).contiguous();
}

at::Tensor CrossAttention::heads_of(const at::Tensor& x, int64_t height, int64_t width, const UnetContext& context) const {
  if (!site_.cross) {
    const auto [q, k, v] = Linear::together<3>({&to_q_, &to_k_, &to_v_}, x);
    return attend(split_heads(q, site_.heads), split_heads(k, site_.heads), split_heads(v, site_.heads), height, width, context).flatten(2);
  }
  const at::Tensor q = split_heads(to_q_(x), site_.heads);
  const auto [k, v] = keys_and_values(context.prompt, context);
  return attend(q, k, v, height, width, context).flatten(2);
}

at::Tensor CrossAttention::operator()(const at::Tensor& x, int64_t height, int64_t width, const UnetContext& context) const {
  return to_out_(heads_of(x, height, width, context));
}

at::Tensor CrossAttention::add_to(const at::Tensor& residual, const at::Tensor& x, int64_t height, int64_t width, const UnetContext& context) const {
  return to_out_.add_to(residual, heads_of(x, height, width, context));
}

GegluFeedForward::GegluFeedForward(int64_t width) : in_(width, 2 * kHiddenRatio * width), out_(kHiddenRatio * width, width) {
  add_child("net.0.proj", in_);
  add_child("net.2", out_);
}

at::Tensor GegluFeedForward::add_to(const at::Tensor& residual, const at::Tensor& x) const { return out_.add_to(residual, geglu(in_(x))); }

BasicTransformerBlock::BasicTransformerBlock(const std::string& name, int64_t width, int64_t context_width, int64_t heads)
    : norm1_(width, kLayerNormEps),
      attn1_(name + ".attn1", width, width, heads, false),
      norm2_(width, kLayerNormEps),
      attn2_(name + ".attn2", width, context_width, heads, true),
      norm3_(width, kLayerNormEps),
      ff_(width) {
  add_child("norm1", norm1_);
  add_child("attn1", attn1_);
  add_child("norm2", norm2_);
  add_child("attn2", attn2_);
  add_child("norm3", norm3_);
  add_child("ff", ff_);
}

at::Tensor BasicTransformerBlock::attend_to_itself(const at::Tensor& x, int64_t height, int64_t width, const UnetContext& context) const {
  const at::Tensor tokens = norm1_(x);
  if (context.merging == nullptr || height * width != context.positions) return attn1_.add_to(x, tokens, height, width, context);
  const TokenMatch match(x, height, width, *context.merging, static_cast<uint64_t>(std::max(0.0, context.timestep)));
  return x + match.unmerge(attn1_(match.merge(tokens), height, width, context));
}

at::Tensor BasicTransformerBlock::operator()(const at::Tensor& x, int64_t height, int64_t width, const UnetContext& context) const {
  if (context.poll) context.poll();
  const at::Tensor y = attend_to_itself(x, height, width, context);
  if (context.poll) context.poll();
  const at::Tensor z = attn2_.add_to(y, norm2_(y), height, width, context);
  return ff_.add_to(z, norm3_(z));
}

Transformer2d::Transformer2d(const std::string& name, int64_t channels, int64_t context_width, int64_t heads, int64_t groups, bool linear_projection)
    : norm_(groups, channels, kGroupNormEps),
      proj_in_(channels, channels, !linear_projection),
      proj_out_(channels, channels, !linear_projection),
      block_(name + ".transformer_blocks.0", channels, context_width, heads) {
  add_child("norm", norm_);
  add_child("proj_in", proj_in_);
  add_child("transformer_blocks.0", block_);
  add_child("proj_out", proj_out_);
}

at::Tensor Transformer2d::operator()(const at::Tensor& x, const UnetContext& context) const {
  const int64_t height = x.size(2), width = x.size(3);
  const auto as_tokens = [](const at::Tensor& map) { return map.permute({0, 2, 3, 1}).flatten(1, 2); };  // [B, H W, C], a view when channels come last
  const at::Tensor out = proj_out_.add_to(as_tokens(x), block_(proj_in_(as_tokens(norm_(x))), height, width, context));
  return out.unflatten(1, {height, width}).permute({0, 3, 1, 2});  // [B, C, H, W]
}

}  // namespace seedbed::nn
