#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "fractal/ifs.h"

namespace seedbed::fractal {

// The copies of a FractalDB category: the system itself, then for each of a, b, c, d, e, f in turn the copies with that
// number of every map times 1 - 2w, 1 - w, 1 + w and 1 + 2w (w = `width`). Chances stay those of the system. [25]
std::vector<Ifs> weighted_copies(const Ifs& ifs, double width);

enum class Flip { none, horizontal, vertical, both };

// Mirrors a picture [H, W] in place.
void flip_picture(const at::Tensor& picture, Flip flip);

// Mirrors pictures [L, H, W] in place, picture i by flips[i]; horizontal exchanges left and right.
void flip_pictures(at::Tensor& images, const std::vector<Flip>& flips);

}  // namespace seedbed::fractal
