#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace seedbed::nn {

// One attention layer of a network.
struct AttentionSite {
  std::string name;  // of the module: "up_blocks.1.attentions.0.transformer_blocks.0.attn1"
  bool cross;        // keys and values come from the prompt
  int64_t heads;
  int64_t height, width;  // of the feature map whose positions are the queries
  double timestep;        // of the call; of its first row where they differ
};

struct AttentionInputs {
  at::Tensor query;       // [B, Lq, heads, d]
  at::Tensor key, value;  // [B, Lk, heads, d]
};

// Sees every attention layer while a network runs, and may change what it does. Handed down the call as an argument;
// without one, nothing is paid.
class AttentionControl {
 public:
  virtual ~AttentionControl() = default;
  // May replace query, key and value; key and value may get another length.
  virtual void edit(const AttentionSite&, AttentionInputs&) {}
  // Whether `probabilities` is to be called for this layer, which costs the full matrix.
  virtual bool wants_probabilities(const AttentionSite&) const { return false; }
  // Sees the attention probabilities [B, heads, Lq, Lk] and returns those to use.
  virtual at::Tensor probabilities(const AttentionSite&, at::Tensor p) { return p; }
};

}  // namespace seedbed::nn
