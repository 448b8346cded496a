#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nn/attention_control.h"
#include "nn/module.h"

// Ready attention controls: record probabilities, change their contrast, take keys and values from another picture.
// A batch holds `images` pictures once, or one such half after the other (guidance: without the prompt, with it); picture
// i is row i of each half.

namespace seedbed::nn {

// Which layers, and when.
struct AttentionScope {
  std::vector<std::string> layers;  // beginnings of names, "up_blocks.2"; `*` stands for any parts, "*.attn1"; empty: all layers
  double lowest_timestep = -std::numeric_limits<double>::infinity();  // inclusive
  double highest_timestep = std::numeric_limits<double>::infinity();

  bool holds(const AttentionSite& site) const;
};

struct RecordOptions {
  AttentionScope scope;
  bool mean_heads = true;
  bool mean_steps = true;  // one record a layer, else one for each call of it
};

struct ContrastOptions {
  AttentionScope scope;
  double strength = 1;           // 1: as it is, 0: all keys alike
  std::vector<int64_t> pictures;  // empty: all
};

struct SwapOptions {
  AttentionScope scope;  // only self-attention in it
  int64_t from = 1;      // picture that keys and values are taken of
  int64_t to = 0;        // picture that gets them
};

struct AttentionControlOptions {
  std::vector<SwapOptions> swap;          // one after the other, then
  std::vector<ContrastOptions> contrast;  // one after the other, then
  std::optional<RecordOptions> record;    // what the layer then uses

  bool empty() const { return swap.empty() && contrast.empty() && !record; }
};

struct AttentionRecord {
  std::string layer;
  int64_t height, width;          // of the feature map whose positions are the queries
  std::vector<double> timesteps;  // of the calls it is the mean of
  at::Tensor probabilities;       // [images, Lq, Lk], or [images, heads, Lq, Lk], float32, on the CPU
};

// Keeps the probabilities of the last half, which is that of the prompt.
class RecordAttention : public AttentionControl {
 public:
  RecordAttention(RecordOptions options, int64_t images) : options_(std::move(options)), images_(images) {}
  bool wants_probabilities(const AttentionSite& site) const override { return options_.scope.holds(site); }
  at::Tensor probabilities(const AttentionSite& site, at::Tensor p) override;
  // In the order of the first call of each layer.
  std::vector<AttentionRecord> records() const;

 private:
  RecordOptions options_;
  int64_t images_;
  std::vector<AttentionRecord> sums_;  // not divided by the number of calls yet
};

// p' = strength (p - mean) + mean, the mean over the keys of each query, clamped to [0, 1] and not normalised again
// (cross-image attention, arXiv 2311.03335, section 3.3).
class ContrastAttention : public AttentionControl {
 public:
  ContrastAttention(ContrastOptions options, int64_t images) : options_(std::move(options)), images_(images) {}
  bool wants_probabilities(const AttentionSite& site) const override { return options_.scope.holds(site); }
  at::Tensor probabilities(const AttentionSite& site, at::Tensor p) override;

 private:
  ContrastOptions options_;
  int64_t images_;
};

// One picture's queries meet another's keys and values (arXiv 2311.03335, section 3.2; 2505.16360).
class SwapKeyValue : public AttentionControl {
 public:
  SwapKeyValue(SwapOptions options, int64_t images) : options_(std::move(options)), images_(images) {}
  void edit(const AttentionSite& site, AttentionInputs& inputs) override;

 private:
  SwapOptions options_;
  int64_t images_;
};

// All controls of some options for a batch of `images` pictures, one after the other.
class AttentionControls : public AttentionControl {
 public:
  AttentionControls(const AttentionControlOptions& options, int64_t images);
  void edit(const AttentionSite& site, AttentionInputs& inputs) override;
  bool wants_probabilities(const AttentionSite& site) const override;
  at::Tensor probabilities(const AttentionSite& site, at::Tensor p) override;
  std::vector<AttentionRecord> records() const;

 private:
  std::vector<std::unique_ptr<AttentionControl>> controls_;
  RecordAttention* record_ = nullptr;
};

// Names of a network's attention layers, as `AttentionSite` has them.
std::vector<std::string> attention_layers(const Module& network);

// Throws ERR_INVALID_ARGUMENT for a pattern that names no layer of the network, or a picture that is not there.
void check_attention(const AttentionControlOptions& options, const Module& network, int64_t images);

// The same for pictures [begin, end) of a run, which become 0 to end - begin; what concerns others is left out.
AttentionControlOptions for_pictures(const AttentionControlOptions& options, int64_t begin, int64_t end);

// Appends the records of further pictures, made by the same calls.
void append_records(std::vector<AttentionRecord>& records, const std::vector<AttentionRecord>& further);

// Whether `pattern` is the beginning of `name`, dot by dot; `*` stands for one or more parts.
bool names_layer(std::string_view pattern, std::string_view name);

}  // namespace seedbed::nn
