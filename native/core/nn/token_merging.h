#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace seedbed::nn {

// Token merging for Stable Diffusion (Bolya & Hoffman 2023, arXiv 2303.17604): self-attention at the highest resolution
// sees fewer tokens, each the mean of similar ones. Changes results.
struct TokenMerging {
  double ratio = 0.5;  // share of the tokens merged away, (0, 0.75]
  bool random = true;  // the token of each 2 x 2 square that others merge into: drawn, or the one at the top left
};

// Which tokens merge into which, by the cosine similarity of x [B, H W, D], the states before the norm. The draws depend on
// `seed` alone and are the same for all rows. The last line of an odd side is never merged into.
class TokenMatch {
 public:
  TokenMatch(const at::Tensor& x, int64_t height, int64_t width, const TokenMerging& options, uint64_t seed);

  at::Tensor merge(const at::Tensor& x) const;    // [B, H W, D] -> [B, L, D]
  at::Tensor unmerge(const at::Tensor& x) const;  // [B, L, D] -> [B, H W, D], each token as the one it merged into

 private:
  at::Tensor kept_;     // [B, sources - merged] places of the sources that stay
  at::Tensor merged_;   // [B, merged] places of the sources that go
  at::Tensor targets_;  // [destinations] places of the destinations
  at::Tensor into_;     // [B, merged] the destination of each source that goes, as an index into `targets_`
};

}  // namespace seedbed::nn
