#pragma once

#include <ATen/core/Tensor.h>

#include "nn/clip.h"
#include "tensor/rng.h"

namespace seedbed::train {

// Pictures with captions, one or several each.
struct CaptionedPictures {
  at::Tensor pictures;  // [N, H, W, 3] uint8
  at::Tensor ids;       // [M, L] int64, tokens of all texts
  at::Tensor captions;  // [K] int64, texts of the first picture, then of the second ...
  at::Tensor starts;    // [N + 1] int64, where each picture's begin in `captions`; the last is K
  at::Tensor groups;    // [N] int64, or undefined: each picture is its own
  at::Tensor repeats;   // [N] int64, how often a pass over the pictures shows each; undefined: once

  int64_t size() const { return pictures.size(0); }
  // Rows of `ids`.
  int64_t first_caption(int64_t place) const;
  int64_t draw_caption(int64_t place, Rng& rng) const;
  // The pictures of one pass.
  std::vector<int64_t> pass() const;
};

// Throws ERR_SHAPE, ERR_DTYPE, ERR_INVALID_ARGUMENT unless all fit each other, the pictures' sides are multiples of `factor`, and the tokens are
// of the text tower's vocabulary.
void check_captioned_pictures(const CaptionedPictures& data, const char* name, int64_t factor, const nn::ClipTextConfig& text);

}  // namespace seedbed::train
