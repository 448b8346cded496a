#include "nn/clip.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <limits>

#include "nn/lora.h"
#include "tensor/check.h"
#include "tensor/error.h"

namespace seedbed::nn {

namespace {

constexpr int64_t kLegacyEos = 2;
constexpr double kQuickGelu = 1.702;
constexpr int64_t kMostPlainTokens = 128;

// With gradients, of so few tokens, a fraction of the time that libtorch's fused attention takes. q, k, v [B, heads, L, d].
at::Tensor plain_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, bool causal) {
  at::Tensor scores = at::matmul(q * (1 / std::sqrt(static_cast<double>(q.size(-1)))), k.transpose(-1, -2));  // [B, heads, L, L]
  if (causal) scores = scores + at::full({q.size(2), q.size(2)}, -std::numeric_limits<float>::infinity()).triu(1).to(q.scalar_type());
  return at::matmul(scores.softmax(-1), v);
}

template <typename Config>
const Config& checked(const Config& c) {
  check_range(c.width, "hidden_size", 1, 65536);
  check_range(c.intermediate_size, "intermediate_size", 1, 1'000'000);
  check_range(c.layers, "num_hidden_layers", 1, 1024);
  check_range(c.heads, "num_attention_heads", 1, c.width);
  expect(c.width % c.heads == 0, "Expected hidden_size to be a multiple of num_attention_heads, received {} and {}", c.width, c.heads);
  return c;
}

at::Tensor activate(const at::Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::quick_gelu: return x * at::sigmoid(kQuickGelu * x);
    case Activation::gelu: return at::gelu(x);
  }
  fail(ErrorCode::internal, "Unknown activation");
}

std::unique_ptr<Linear> projection(const ClipLayers& c) {
  return c.projection_dim > 0 ? std::make_unique<Linear>(c.width, c.projection_dim, false) : nullptr;
}

}  // namespace

ClipAttention::ClipAttention(const ClipLayers& c) : heads_(c.heads), k_proj_(c.width, c.width), v_proj_(c.width, c.width), q_proj_(c.width, c.width), out_proj_(c.width, c.width) {
  add_child("k_proj", k_proj_);
  add_child("v_proj", v_proj_);
  add_child("q_proj", q_proj_);
  add_child("out_proj", out_proj_);
}

at::Tensor ClipAttention::add_to(const at::Tensor& residual, const at::Tensor& x, bool causal) const {
  const auto split = [&](const at::Tensor& t) { return t.unflatten(-1, {heads_, t.size(-1) / heads_}).transpose(1, 2); };  // [B, heads, L, d]
  const auto [q, k, v] = Linear::together<3>({&q_proj_, &k_proj_, &v_proj_}, x);
  const bool plain = c10::GradMode::is_enabled() && x.is_cpu() && x.size(1) <= kMostPlainTokens;
  const at::Tensor mixed = plain ? plain_attention(split(q), split(k), split(v), causal) : at::scaled_dot_product_attention(split(q), split(k), split(v), {}, 0.0, causal);
  return out_proj_.add_to(residual, mixed.transpose(1, 2).flatten(2));
}

ClipLayer::Mlp::Mlp(const ClipLayers& c) : activation(c.activation), fc1(c.width, c.intermediate_size), fc2(c.intermediate_size, c.width) {
  add_child("fc1", fc1);
  add_child("fc2", fc2);
}

at::Tensor ClipLayer::Mlp::add_to(const at::Tensor& residual, const at::Tensor& x) const { return fc2.add_to(residual, activate(fc1(x), activation)); }

ClipLayer::ClipLayer(const ClipLayers& c) : self_attn_(c), layer_norm1_(c.width, c.layer_norm_eps), mlp_(c), layer_norm2_(c.width, c.layer_norm_eps) {
  add_child("self_attn", self_attn_);
  add_child("layer_norm1", layer_norm1_);
  add_child("mlp", mlp_);
  add_child("layer_norm2", layer_norm2_);
}

at::Tensor ClipLayer::operator()(const at::Tensor& x, bool causal) const {
  const at::Tensor y = self_attn_.add_to(x, layer_norm1_(x), causal);
  return mlp_.add_to(y, layer_norm2_(y));
}

ClipEncoder::ClipEncoder(const ClipLayers& c) {
  for (int64_t i = 0; i < c.layers; ++i) {
    layers_.push_back(std::make_unique<ClipLayer>(c));
    add_child(fmt::format("layers.{}", i), *layers_.back());
  }
}

at::Tensor ClipEncoder::operator()(at::Tensor x, bool causal, int64_t skipped) const {
  for (int64_t i = 0; i < layers() - skipped; ++i) x = (*layers_[static_cast<size_t>(i)])(x, causal);
  return x;
}

ClipText::ClipText(const ClipTextConfig& config)
    : config_(checked(config)),
      token_embedding_(add_parameter("text_model.embeddings.token_embedding.weight", at::empty({config.vocab_size, config.width}))),
      position_embedding_(add_parameter("text_model.embeddings.position_embedding.weight", at::empty({config.max_positions, config.width}))),
      encoder_(config),
      final_layer_norm_(config.width, config.layer_norm_eps),
      text_projection_(projection(config)) {
  add_child("text_model.encoder", encoder_);
  add_child("text_model.final_layer_norm", final_layer_norm_);
  if (text_projection_) add_child("text_projection", *text_projection_);
}

at::Tensor ClipText::end_positions(const at::Tensor& ids) const {
  // fixed: the end is the largest id of the vocabulary; the reference takes placeholders, whose ids are larger, for it
  return config_.eos_token_id == kLegacyEos ? ids.masked_fill(ids >= config_.vocab_size, -1).argmax(1) : (ids == config_.eos_token_id).to(at::kInt).argmax(1);
}

at::Tensor ClipText::embed(const at::Tensor& ids) const {
  const LoraSite* const site = active_lora(*this);
  const at::Tensor rows = site == nullptr ? at::Tensor() : site->token_rows();  // [n, D]
  const int64_t low = ids.min().item<int64_t>(), high = ids.max().item<int64_t>(), vocabulary = config_.vocab_size;
  const int64_t known = vocabulary + (rows.defined() ? rows.size(0) : 0);
  expect(low >= 0 && high < known, "Expected token ids from 0 to {}, received {} to {}", known - 1, low, high);
  const at::Tensor here = ids.to(token_embedding_.device());
  if (high < vocabulary) return at::embedding(token_embedding_, here);
  const at::Tensor added = at::embedding(rows, (here - vocabulary).clamp_min(0)).to(token_embedding_.scalar_type());
  return at::where((here >= vocabulary).unsqueeze(-1), added, at::embedding(token_embedding_, here.clamp_max(vocabulary - 1)));
}

TextEncoding ClipText::operator()(const at::Tensor& ids, int64_t skipped) const {
  check_dtype(ids, "ids", at::kLong);
  check_shape(ids, "ids", {-1, -1});
  check_range(ids.size(1), "tokens", 1, config_.max_positions);
  check_range(skipped, "clipSkip", 0, config_.layers - 1);
  const at::Tensor embedded = embed(ids) + position_embedding_.slice(0, 0, ids.size(1));  // [B, L, D]
  TextEncoding out;
  out.states = final_layer_norm_(encoder_(embedded, /*causal=*/true, skipped));
  const at::Tensor last = skipped == 0 ? out.states : final_layer_norm_(encoder_(embedded, true));
  const at::Tensor ends = end_positions(ids).to(last.device());
  out.pooled = last.index({at::arange(ids.size(0), ends.options()), ends});
  if (text_projection_) out.projected = (*text_projection_)(out.pooled);
  return out;
}

ClipVision::ClipVision(const ClipVisionConfig& config)
    : config_(checked(config)),
      class_embedding_(add_parameter("vision_model.embeddings.class_embedding", at::empty({config.width}))),
      position_embedding_(add_parameter("vision_model.embeddings.position_embedding.weight",
                                        at::empty({(config.image_size / config.patch_size) * (config.image_size / config.patch_size) + 1, config.width}))),
      patch_embedding_(config.channels, config.width, {.kernel = config.patch_size, .stride = config.patch_size, .padding = 0, .bias = false}),
      pre_layrnorm_(config.width, config.layer_norm_eps),
      encoder_(config),
      post_layernorm_(config.width, config.layer_norm_eps),
      visual_projection_(projection(config)) {
  add_child("vision_model.embeddings.patch_embedding", patch_embedding_);
  add_child("vision_model.pre_layrnorm", pre_layrnorm_);
  add_child("vision_model.encoder", encoder_);
  add_child("vision_model.post_layernorm", post_layernorm_);
  if (visual_projection_) add_child("visual_projection", *visual_projection_);
}

ImageEncoding ClipVision::operator()(const at::Tensor& pixels) const {
  check_shape(pixels, "pixels", {-1, config_.channels, config_.image_size, config_.image_size});
  const at::Tensor patches = patch_embedding_(pixels.to(class_embedding_.device(), class_embedding_.scalar_type(), false, false, at::MemoryFormat::ChannelsLast)).flatten(2).transpose(1, 2);  // [B, L - 1, D]
  const at::Tensor tokens = at::cat({class_embedding_.expand({pixels.size(0), 1, config_.width}), patches}, 1) + position_embedding_;
  ImageEncoding out;
  out.states = encoder_(pre_layrnorm_(tokens), /*causal=*/false);
  out.pooled = post_layernorm_(out.states.select(1, 0));
  if (visual_projection_) out.projected = (*visual_projection_)(out.pooled);
  return out;
}

}  // namespace seedbed::nn
