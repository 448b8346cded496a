#pragma once

#include "image/image.h"

namespace seedbed::image {

enum class Filter { bilinear, bicubic, lanczos };

// Resizes as Pillow's `Image.resize` does, bit for bit: the filter widened when shrinking, coefficients in 22-bit fixed
// point, rows first, then columns, rounded to 8 bits in between (libImaging/Resample.c).
Image resize(const Image& image, int64_t width, int64_t height, Filter filter = Filter::bicubic);

}  // namespace seedbed::image
