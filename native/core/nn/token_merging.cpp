#include "nn/token_merging.h"

#include <ATen/ATen.h>

#include "tensor/rng.h"

namespace seedbed::nn {

namespace {

constexpr int64_t kStride = 2;  // one destination in each square of this side

// Places of the destinations and of all other tokens, each in order of their place.
std::pair<at::Tensor, at::Tensor> split(int64_t height, int64_t width, bool random, uint64_t seed) {
  Rng rng(derive_seed(seed, "token merging"));
  std::vector<bool> is_target(static_cast<size_t>(height * width));
  for (int64_t top = 0; top + kStride <= height; top += kStride)
    for (int64_t left = 0; left + kStride <= width; left += kStride) {
      const auto drawn = random ? static_cast<int64_t>(rng.below(kStride * kStride)) : 0;
      is_target[static_cast<size_t>((top + drawn / kStride) * width + left + drawn % kStride)] = true;
    }
  std::vector<int64_t> targets, sources;
  for (size_t i = 0; i < is_target.size(); ++i) (is_target[i] ? targets : sources).push_back(static_cast<int64_t>(i));
  return {at::tensor(targets, at::kLong), at::tensor(sources, at::kLong)};
}

// Rows of x [B, N, D] at places [B, n] -> [B, n, D]
at::Tensor rows_at(const at::Tensor& x, const at::Tensor& places) { return x.gather(1, places.unsqueeze(-1).expand({-1, -1, x.size(2)})); }

}  // namespace

TokenMatch::TokenMatch(const at::Tensor& x, int64_t height, int64_t width, const TokenMerging& options, uint64_t seed) {
  const auto [targets, sources] = split(height, width, options.random, seed);
  targets_ = targets.to(x.device());
  const at::Tensor all = sources.to(x.device());
  const auto count = std::min(static_cast<int64_t>(static_cast<double>(height * width) * options.ratio), all.size(0));
  const at::Tensor unit = x / x.norm(2, {-1}, /*keepdim=*/true);
  const at::Tensor similarity = at::matmul(unit.index_select(1, all), unit.index_select(1, targets_).transpose(1, 2));  // [B, sources, destinations]
  const auto [best, where] = similarity.max(-1);
  const at::Tensor order = best.argsort(/*stable=*/true, -1, /*descending=*/true);  // [B, sources]
  const at::Tensor going = order.narrow(1, 0, count);
  merged_ = all.index_select(0, going.flatten()).view_as(going);
  kept_ = all.index_select(0, order.narrow(1, count, all.size(0) - count).flatten()).view({order.size(0), -1});
  into_ = where.gather(1, going);
}

at::Tensor TokenMatch::merge(const at::Tensor& x) const {
  const at::Tensor means = x.index_select(1, targets_).scatter_reduce(1, into_.unsqueeze(-1).expand({-1, -1, x.size(2)}), rows_at(x, merged_), "mean");
  return at::cat({rows_at(x, kept_), means}, 1);
}

at::Tensor TokenMatch::unmerge(const at::Tensor& x) const {
  const int64_t kept = kept_.size(1), batch = x.size(0), width = x.size(2);
  const at::Tensor means = x.slice(1, kept);
  at::Tensor out = at::empty({batch, kept + merged_.size(1) + targets_.size(0), width}, x.options());
  const auto put = [&](const at::Tensor& places, const at::Tensor& values) { out.scatter_(1, places.unsqueeze(-1).expand({batch, -1, width}), values); };
  put(kept_, x.slice(1, 0, kept));
  put(merged_, rows_at(means, into_));
  put(targets_.unsqueeze(0), means);
  return out;
}

}  // namespace seedbed::nn
