#include "train/mixup.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace seedbed::train {

namespace {

at::Tensor smooth_one_hot(const at::Tensor& labels, double smoothing, int64_t classes) {
  const double off = smoothing / static_cast<double>(classes), on = 1 - smoothing + off;
  return at::full({labels.size(0), classes}, off).scatter_(1, labels.unsqueeze(1), on);
}

// The partners' rows in the order of rows [begin, end).
at::Tensor partner_rows(const at::Tensor& batch, int64_t begin, int64_t end) {
  const int64_t B = batch.size(0);
  return batch.slice(0, B - end, B - begin).flip(0);
}

void draw_box(Mix& mix, int64_t size, Rng& rng) {
  const auto half = static_cast<int64_t>(static_cast<double>(size) * std::sqrt(1 - mix.lambda)) / 2;
  const auto y = static_cast<int64_t>(rng.below(size)), x = static_cast<int64_t>(rng.below(size));
  mix.top = std::max<int64_t>(y - half, 0);
  mix.bottom = std::min(y + half, size);
  mix.left = std::max<int64_t>(x - half, 0);
  mix.right = std::min(x + half, size);
  mix.lambda = 1 - static_cast<double>((mix.bottom - mix.top) * (mix.right - mix.left)) / static_cast<double>(size * size);
}

}  // namespace

Mix draw_mix(const MixupOptions& options, int64_t size, Rng& rng) {
  Mix mix;
  const bool mixup = options.mixup_alpha > 0, cutmix = options.cutmix_alpha > 0;
  if ((!mixup && !cutmix) || !rng.chance(options.probability)) return mix;
  mix.cutmix = cutmix && (!mixup || rng.chance(options.switch_to_cutmix));
  const double alpha = mix.cutmix ? options.cutmix_alpha : options.mixup_alpha;
  mix.lambda = rng.beta(alpha, alpha);
  if (mix.cutmix) draw_box(mix, size, rng);
  return mix;
}

at::Tensor mix_rows(const at::Tensor& pixels, const Mix& mix, int64_t begin, int64_t end) {
  const at::Tensor own = pixels.slice(0, begin, end);
  if (mix.lambda == 1) return own;
  const at::Tensor partner = partner_rows(pixels, begin, end);
  if (!mix.cutmix) return own * mix.lambda + partner * (1 - mix.lambda);
  const auto box = [&](const at::Tensor& x) { return x.slice(2, mix.top, mix.bottom).slice(3, mix.left, mix.right); };
  at::Tensor out = own.clone();
  box(out).copy_(box(partner));
  return out;
}

at::Tensor mix_targets(const at::Tensor& labels, const Mix& mix, double smoothing, int64_t classes, int64_t begin, int64_t end) {
  const at::Tensor own = smooth_one_hot(labels.slice(0, begin, end), smoothing, classes);
  if (mix.lambda == 1) return own;
  return own * mix.lambda + smooth_one_hot(partner_rows(labels, begin, end), smoothing, classes) * (1 - mix.lambda);
}

}  // namespace seedbed::train
