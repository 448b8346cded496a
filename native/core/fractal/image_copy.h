#pragma once

#include "image/image.h"

namespace seedbed::fractal {

struct CopyOptions {
  double delta = 0.4;  // 0 to 1: how far copies may differ
  int64_t copy = 0;    // which one
  uint64_t seed = 0;
};

// A perturbed copy of one square picture in place of a fractal's (the real-image study of 1p-frac; its parameters were not published, these are ours): the picture under the affine map
// I + U(-delta / 2, delta / 2) in each of the four numbers, about the middle, moved by U(-delta / 2, delta / 2) of half a side; bicubic, black beyond it. It follows from its number and `seed`.
image::Image draw_image_copy(const image::Image& square, const CopyOptions& options);

}  // namespace seedbed::fractal
