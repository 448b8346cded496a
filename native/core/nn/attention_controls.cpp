#include "nn/attention_controls.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "tensor/check.h"
#include "tensor/error.h"

namespace seedbed::nn {

namespace {

constexpr std::string_view kQueryWeight = ".to_q.weight";
constexpr std::string_view kSelfAttention = ".attn1";
constexpr double kStrongest = 1000;

bool has(const std::vector<int64_t>& list, int64_t value) { return std::ranges::find(list, value) != list.end(); }

// The first part of a dotted name, which is taken off.
std::string_view take_part(std::string_view& name) {
  const size_t dot = name.find('.');
  const std::string_view part = name.substr(0, dot);
  name = dot == std::string_view::npos ? std::string_view() : name.substr(dot + 1);
  return part;
}

void check_scope(const AttentionScope& scope, const std::vector<std::string>& names, std::string_view what) {
  expect(scope.lowest_timestep <= scope.highest_timestep, "Expected timesteps from low to high for {}, received {} to {}", what, scope.lowest_timestep, scope.highest_timestep);
  for (const std::string& pattern : scope.layers)
    expect(std::ranges::any_of(names, [&](const std::string& name) { return names_layer(pattern, name); }),
           "Expected the beginning of an attention layer's name for {}, say '{}', or a pattern such as '*.attn1'; received '{}'", what, names.empty() ? "" : names.front(), pattern);
}

}  // namespace

bool names_layer(std::string_view pattern, std::string_view name) {
  if (pattern.empty()) return true;
  if (name.empty()) return false;
  const std::string_view wanted = take_part(pattern), part = take_part(name);
  if (wanted != "*") return wanted == part && names_layer(pattern, name);
  for (;; take_part(name)) {
    if (names_layer(pattern, name)) return true;
    if (name.empty()) return false;
  }
}

bool AttentionScope::holds(const AttentionSite& site) const {
  if (site.timestep < lowest_timestep || site.timestep > highest_timestep) return false;
  return layers.empty() || std::ranges::any_of(layers, [&](const std::string& pattern) { return names_layer(pattern, site.name); });
}

at::Tensor RecordAttention::probabilities(const AttentionSite& site, at::Tensor p) {
  const at::Tensor half = p.slice(0, p.size(0) - images_);  // [images, heads, Lq, Lk]
  const at::Tensor kept = options_.mean_heads ? half.mean(1) : half.clone();
  const auto known = std::ranges::find_if(sums_, [&](const AttentionRecord& record) {
    return options_.mean_steps && record.layer == site.name && record.probabilities.sizes() == kept.sizes();
  });
  if (known == sums_.end()) {
    sums_.push_back({.layer = site.name, .height = site.height, .width = site.width, .timesteps = {site.timestep}, .probabilities = kept});
  } else {
    known->probabilities += kept;
    known->timesteps.push_back(site.timestep);
  }
  return p;
}

std::vector<AttentionRecord> RecordAttention::records() const {
  std::vector<AttentionRecord> records = sums_;
  for (AttentionRecord& record : records) record.probabilities = (record.probabilities / static_cast<double>(record.timesteps.size())).cpu();
  return records;
}

at::Tensor ContrastAttention::probabilities(const AttentionSite&, at::Tensor p) {
  const auto contrasted = [&](const at::Tensor& rows) {  // [..., Lq, Lk]
    const at::Tensor mean = rows.mean(-1, /*keepdim=*/true);
    return ((rows - mean) * options_.strength + mean).clamp(0, 1);
  };
  if (options_.pictures.empty()) return contrasted(p);
  for (int64_t row = 0; row < p.size(0); ++row)
    if (has(options_.pictures, row % images_)) p[row].copy_(contrasted(p[row]));
  return p;
}

void SwapKeyValue::edit(const AttentionSite& site, AttentionInputs& inputs) {
  if (site.cross || options_.from == options_.to || !options_.scope.holds(site)) return;
  for (at::Tensor* x : {&inputs.key, &inputs.value}) {  // [B, L, heads, d]
    *x = x->clone();
    for (int64_t half = 0; half < x->size(0); half += images_) x->select(0, half + options_.to).copy_(x->select(0, half + options_.from));
  }
}

AttentionControls::AttentionControls(const AttentionControlOptions& options, int64_t images) {
  for (const SwapOptions& swap : options.swap) controls_.push_back(std::make_unique<SwapKeyValue>(swap, images));
  for (const ContrastOptions& contrast : options.contrast) controls_.push_back(std::make_unique<ContrastAttention>(contrast, images));
  if (!options.record) return;
  auto record = std::make_unique<RecordAttention>(*options.record, images);
  record_ = record.get();
  controls_.push_back(std::move(record));
}

void AttentionControls::edit(const AttentionSite& site, AttentionInputs& inputs) {
  for (const auto& control : controls_) control->edit(site, inputs);
}

bool AttentionControls::wants_probabilities(const AttentionSite& site) const {
  return std::ranges::any_of(controls_, [&](const auto& control) { return control->wants_probabilities(site); });
}

at::Tensor AttentionControls::probabilities(const AttentionSite& site, at::Tensor p) {
  for (const auto& control : controls_)
    if (control->wants_probabilities(site)) p = control->probabilities(site, std::move(p));
  return p;
}

std::vector<AttentionRecord> AttentionControls::records() const { return record_ == nullptr ? std::vector<AttentionRecord>() : record_->records(); }

std::vector<std::string> attention_layers(const Module& network) {
  std::vector<std::string> names;
  for (const auto& [name, _] : network.named_parameters())
    if (name.ends_with(kQueryWeight)) names.push_back(name.substr(0, name.size() - kQueryWeight.size()));
  return names;
}

void check_attention(const AttentionControlOptions& options, const Module& network, int64_t images) {
  const std::vector<std::string> names = attention_layers(network);
  std::vector<std::string> self = names;
  std::erase_if(self, [](const std::string& name) { return !name.ends_with(kSelfAttention); });
  for (const SwapOptions& swap : options.swap) {
    check_scope(swap.scope, self, "attention.swap.layers");
    check_range(swap.from, "attention.swap.from", 0, images - 1);
    check_range(swap.to, "attention.swap.to", 0, images - 1);
  }
  for (const ContrastOptions& contrast : options.contrast) {
    check_scope(contrast.scope, names, "attention.contrast.layers");
    check_range(contrast.strength, "attention.contrast.strength", 0.0, kStrongest);
    for (int64_t picture : contrast.pictures) check_range(picture, "attention.contrast.pictures", 0, images - 1);
  }
  if (options.record) check_scope(options.record->scope, names, "attention.record.layers");
}

AttentionControlOptions for_pictures(const AttentionControlOptions& options, int64_t begin, int64_t end) {
  const auto inside = [&](int64_t picture) { return picture >= begin && picture < end; };
  AttentionControlOptions part;
  part.record = options.record;
  for (SwapOptions swap : options.swap) {
    if (!inside(swap.to)) continue;
    expect(inside(swap.from), "Expected pictures {} and {} of attention.swap in one batch; set batchSize to {} or more", swap.from, swap.to, std::max(swap.from, swap.to) + 1);
    swap.from -= begin;
    swap.to -= begin;
    part.swap.push_back(swap);
  }
  for (ContrastOptions contrast : options.contrast) {
    const bool all = contrast.pictures.empty();
    std::erase_if(contrast.pictures, [&](int64_t picture) { return !inside(picture); });
    for (int64_t& picture : contrast.pictures) picture -= begin;
    if (all || !contrast.pictures.empty()) part.contrast.push_back(std::move(contrast));
  }
  return part;
}

void append_records(std::vector<AttentionRecord>& records, const std::vector<AttentionRecord>& further) {
  if (records.empty()) records = further;
  else
    for (size_t i = 0; i < records.size(); ++i) records[i].probabilities = at::cat({records[i].probabilities, further[i].probabilities});
}

}  // namespace seedbed::nn
