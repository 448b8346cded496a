#pragma once

#include <array>
#include <string_view>

#include "image/image.h"
#include "image/picture_kernel.h"
#include "tensor/rng.h"

namespace seedbed::image {

enum class AugmentOp {
  auto_contrast,
  equalize,
  invert,
  rotate,
  posterize_increasing,
  solarize_increasing,
  solarize_add,
  colour_increasing,
  contrast_increasing,
  brightness_increasing,
  sharpness_increasing,
  shear_x,
  shear_y,
  translate_x,
  translate_y,
};

inline constexpr int kAugmentOps = 15;

// RandAugment as timm's `rand-m{magnitude}-mstd{magnitude_std}-inc1` (Cubuk et al. 2019, arXiv 1909.13719).
struct RandAugmentOptions {
  int ops = 2;                 // drawn with replacement
  double magnitude = 9;        // 0 to 10
  double magnitude_std = 0.5;  // of the normal draw around `magnitude`, clipped to [0, 10]
  double probability = 0.5;    // of each drawn operation
  uint8_t fill = 128;          // where geometry uncovers nothing
};

// Applies one operation at `magnitude` in [0, 10]; `negative` turns the sign of those that have one.
void apply_op(Image& image, AugmentOp op, double magnitude, bool negative, uint8_t fill, const PictureKernel& kernel = picture_kernel());

void rand_augment(Image& image, const RandAugmentOptions& options, Rng& rng);

}  // namespace seedbed::image
