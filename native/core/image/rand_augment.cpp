#include "image/rand_augment.h"

#include <algorithm>

#include "image/adjust.h"
#include "image/affine.h"

namespace seedbed::image {

namespace {

constexpr double kMaxMagnitude = 10;
constexpr double kMaxDegrees = 30;
constexpr double kMaxShear = 0.3;
constexpr double kMaxTranslate = 0.45;  // of the side
constexpr double kMaxEnhance = 0.9;

}  // namespace

void apply_op(Image& image, AugmentOp op, double magnitude, bool negative, uint8_t fill, const PictureKernel& kernel) {
  const double level = magnitude / kMaxMagnitude;
  const double sign = negative ? -1 : 1;
  const auto factor = static_cast<float>(std::max(0.1, 1 + sign * level * kMaxEnhance));
  const auto transform = [&](const std::array<double, 6>& matrix) { image = transform_affine(image, matrix, fill, kernel); };
  const double width = static_cast<double>(image.width), height = static_cast<double>(image.height);
  switch (op) {
    case AugmentOp::auto_contrast: return auto_contrast(image);
    case AugmentOp::equalize: return equalize(image);
    case AugmentOp::invert: return invert(image);
    case AugmentOp::rotate: return transform(rotation_matrix(sign * level * kMaxDegrees, image.width, image.height));
    case AugmentOp::posterize_increasing: return posterize(image, 4 - static_cast<int>(level * 4));
    case AugmentOp::solarize_increasing: return solarize(image, 256 - std::min(256, static_cast<int>(level * 256)));
    case AugmentOp::solarize_add: return solarize_add(image, std::min(128, static_cast<int>(level * 110)));
    case AugmentOp::colour_increasing: return enhance_colour(image, factor, kernel);
    case AugmentOp::contrast_increasing: return enhance_contrast(image, factor);
    case AugmentOp::brightness_increasing: return enhance_brightness(image, factor);
    case AugmentOp::sharpness_increasing: return enhance_sharpness(image, factor, kernel);
    case AugmentOp::shear_x: return transform({1, sign * level * kMaxShear, 0, 0, 1, 0});
    case AugmentOp::shear_y: return transform({1, 0, 0, sign * level * kMaxShear, 1, 0});
    case AugmentOp::translate_x: return transform({1, 0, sign * level * kMaxTranslate * width, 0, 1, 0});
    case AugmentOp::translate_y: return transform({1, 0, 0, 0, 1, sign * level * kMaxTranslate * height});
  }
}

void rand_augment(Image& image, const RandAugmentOptions& options, Rng& rng) {
  for (int i = 0; i < options.ops; ++i) {
    const auto op = static_cast<AugmentOp>(rng.below(kAugmentOps));
    if (!rng.chance(options.probability)) continue;
    const double magnitude = std::clamp(options.magnitude + options.magnitude_std * rng.normal(), 0.0, kMaxMagnitude);
    apply_op(image, op, magnitude, rng.chance(0.5), options.fill);
  }
}

}  // namespace seedbed::image
