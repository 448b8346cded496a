#pragma once

#include <array>
#include <optional>

#include "image/image_view.h"
#include "image/rand_augment.h"
#include "tensor/rng.h"

namespace seedbed::image {

struct RandomErasingOptions {
  double probability = 0.5;
  double min_area = 0.02;
  double max_area = 1.0 / 3;
  double min_aspect = 0.3;  // drawn log-uniformly from [min_aspect, 1 / min_aspect]
};

// The training chain of timm: random resized crop, flips, RandAugment, normalisation, random erasing.
struct AugmentOptions {
  double min_scale = 0.08;  // area of the crop, share of the picture
  double max_scale = 1.0;
  double min_ratio = 3.0 / 4;  // width over height
  double max_ratio = 4.0 / 3;
  double flip = 0.5;           // chance of a left-right flip
  double flip_vertical = 0;
  double colourise = 0;        // chance that a gray picture gets two random colours, one for black and one for white
  std::optional<RandAugmentOptions> rand_augment;
  std::optional<RandomErasingOptions> random_erasing;
};

// Throws ERR_INVALID_ARGUMENT unless scales and ratios are ranges of what can be cut.
void check_augment(const AugmentOptions& options);

struct Normalisation {
  std::array<float, 3> mean{0.5F, 0.5F, 0.5F};
  std::array<float, 3> std{0.5F, 0.5F, 0.5F};
};

// A random view of `image` for training, as normalised planes [3, size, size]; gray becomes three equal planes.
void augment_to(const ImageView& image, const AugmentOptions& options, const Normalisation& normalisation, int64_t size, Rng& rng, float* out);

// The view for evaluation: short side to size / crop_share (bicubic), centre crop, normalised planes [3, size, size].
void centre_view_to(const ImageView& image, double crop_share, const Normalisation& normalisation, int64_t size, float* out);

}  // namespace seedbed::image
