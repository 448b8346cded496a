#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "nn/low_rank.h"
#include "nn/module.h"
#include "nn/packed_weight.h"
#include "nn/trained_linear.h"

// Low-rank changes of layers (Hu et al. 2021, arXiv 2106.09685), applied while a network runs: W' = W + scale up down.
// No layer is ever changed.

namespace seedbed::nn {

// Of one layer: up [out, r], and down [r, in] or [r, in, k, k] as the layer's weight is stored; or of some neighbouring rows of its weight.
struct LoraFactors {
  at::Tensor down, up;
  double scale = 1;  // alpha / r, and the user's strength
  std::shared_ptr<const PackedLowRank> packed{};  // the same for inference; missing where they change, as in training
  int64_t first_row = 0;     // of the weight's rows that change
};

enum class Packing { direct, winograd };

// A layer's weight with what is merged into it. The layer's own weight stays as it is: to un-merge is to use that again.
class MergedWeight {
 public:
  // `placement` and `name` of the layer, for inference.
  MergedWeight(std::vector<LoraFactors> factors, const Placement& placement, const std::string& name);

  // weight [out, in ...] plus all products, of the weight's type.
  at::Tensor of(const at::Tensor& weight) const;
  // The same, packed once by each of a layer's ways to pack.
  at::Tensor packed(Packing packing, const at::Tensor& weight, const PackedWeight::Pack& pack) const;
  bool made_of(const std::vector<LoraFactors>& factors) const;

 private:
  std::vector<LoraFactors> factors_;
  std::array<PackedWeight, 2> packed_;  // by Packing
};

// All that adapters do to one layer.
class LoraSite {
 public:
  void add(LoraFactors factors) { low_rank_.push_back(std::move(factors)); }
  void set_merged(std::shared_ptr<const MergedWeight> merged) { merged_ = std::move(merged); }

  bool has_low_rank() const { return !low_rank_.empty(); }
  // Whether there is one pair of factors for all `rows` of the layer.
  bool is_whole(int64_t rows) const { return low_rank_.size() == 1 && low_rank_.front().up.size(0) == rows; }
  const std::shared_ptr<const MergedWeight>& merged() const { return merged_; }  // may be missing

  // Rows [n, D] behind those of the layer's table of token embeddings; undefined where there are none.
  void add_token_rows(const at::Tensor& rows);
  const at::Tensor& token_rows() const { return token_rows_; }

  // y plus the low-rank products of x [*, in]; y [*, out] may be written to.
  at::Tensor add_linear(at::Tensor y, const at::Tensor& x) const;
  // What `add_low_rank` adds to y for x; nothing when the factors are not packed or lie elsewhere. Returns whether that is all.
  bool terms(const at::Tensor& y, const at::Tensor& x, std::vector<LowRankTerm>& out) const;
  // The same for rows [first, first + count) of the layer, y [*, count], without writing to y: gradients may be recorded.
  at::Tensor with_rows(at::Tensor y, const at::Tensor& x, int64_t first, int64_t count) const;
  // While gradients are recorded, for factors that are whole: of a frozen layer, in one step forwards and backwards. bias, residual may be undefined.
  at::Tensor frozen_linear(const at::Tensor& x, const LinearForms& forms, const at::Tensor& bias, const at::Tensor& residual) const;
  // The same for a convolution: x [B, in, H, W], y [B, out, H', W'].
  at::Tensor add_convolution(const at::Tensor& y, const at::Tensor& x, const ConvShape& shape) const;

 private:
  // All as one of their ranks together: one product each way.
  const LoraFactors& joined() const;

  std::vector<LoraFactors> low_rank_;
  std::shared_ptr<const MergedWeight> merged_;
  at::Tensor token_rows_;
  mutable std::once_flag once_;
  mutable LoraFactors joined_;
};

// A word that stands for embeddings of an adapter (textual inversion, Gal et al. 2022, arXiv 2208.01618).
struct Placeholder {
  std::string token;
  int64_t first_id;  // from the size of the vocabulary on
  int64_t vectors;   // ids in a row
};

// The sites of a call by layer. Not changed once calls use it.
class ActiveLoras {
 public:
  LoraSite& at(const Module& layer);
  const LoraSite* find(const Module& layer) const;
  // Embeddings [n, D] of a word for a text encoder that knows `vocabulary` ids.
  void add_placeholder(const Module& text_encoder, int64_t vocabulary, std::string token, const at::Tensor& rows);
  const std::vector<Placeholder>& placeholders() const { return placeholders_; }
  bool empty() const { return sites_.empty(); }

 private:
  std::unordered_map<const Module*, std::unique_ptr<LoraSite>> sites_;
  std::vector<Placeholder> placeholders_;
};

// While one lives, layers that run on this thread see these adapters. A thread's state, as libtorch's gradient mode is:
// every layer of every network asks for it, and none of them should have to hand it down.
class LoraScope {
 public:
  explicit LoraScope(const ActiveLoras* active);
  ~LoraScope();
  LoraScope(const LoraScope&) = delete;
  LoraScope& operator=(const LoraScope&) = delete;

 private:
  const ActiveLoras* outer_;
};

// Of this thread's scope; null without one.
const ActiveLoras* active_loras();

// What the adapters of this thread's scope do to a layer; nothing mostly.
const LoraSite* active_lora(const Module& layer);

// A layer that adapters may change: Linear or Conv2d, or neighbouring rows of a layer that does the work of several.
struct LoraLayer {
  std::string name;
  const Module* layer;
  at::Tensor weight;
  int64_t first_row = 0;
};
std::vector<LoraLayer> lora_layers(const Module& network);

// Throws ERR_WEIGHTS unless the factors fit a layer's weight: rank at least 1, sides as the layer's.
void check_factors(const LoraLayer& layer, const LoraFactors& factors);

}  // namespace seedbed::nn
