#pragma once

#include <ATen/core/Tensor.h>

#include "tensor/rng.h"

namespace seedbed::train {

// Mixup (arXiv 1710.09412) and CutMix (arXiv 1905.04899), one draw per batch, the partner of image i being image
// B - 1 - i, as in timm's `Mixup(mode='batch')`.
struct MixupOptions {
  double mixup_alpha = 0.8;     // 0 turns mixup off
  double cutmix_alpha = 1.0;    // 0 turns CutMix off
  double probability = 1.0;     // of mixing a batch at all
  double switch_to_cutmix = 0.5;  // chance of CutMix when both are on
};

// What happens to one batch: out = lambda * x + (1 - lambda) * partner, or the partner's box pasted in.
struct Mix {
  double lambda = 1;  // share of the image's own label; for CutMix corrected to the true area of the box
  bool cutmix = false;
  int64_t top = 0, bottom = 0, left = 0, right = 0;  // the box, half open
};

Mix draw_mix(const MixupOptions& options, int64_t size, Rng& rng);

// Rows [begin, end) of the mixed batch. pixels: [B, C, H, W]; returns [end - begin, C, H, W].
at::Tensor mix_rows(const at::Tensor& pixels, const Mix& mix, int64_t begin, int64_t end);

// Soft targets [end - begin, classes] for the same rows: smoothing / K everywhere, 1 - smoothing + smoothing / K at the
// label, mixed by lambda. labels: [B], int64.
at::Tensor mix_targets(const at::Tensor& labels, const Mix& mix, double smoothing, int64_t classes, int64_t begin, int64_t end);

}  // namespace seedbed::train
