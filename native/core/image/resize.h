#pragma once

#include "image/image_view.h"
#include "image/picture_kernel.h"

namespace seedbed::image {

enum class Filter { bilinear, bicubic, lanczos };

// Resizes as Pillow's `Image.resize` does, bit for bit: the filter widened when shrinking, coefficients in 22-bit fixed
// point, rows first, then columns, rounded to 8 bits in between (libImaging/Resample.c).
Image resize(const ImageView& image, int64_t width, int64_t height, Filter filter = Filter::bicubic, const PictureKernel& kernel = picture_kernel());

struct Mirror {
  bool left_right = false, top_bottom = false;
};

// The same of a part that must lie inside, as if it had been cut out before, mirrored when it is done.
Image resize_part(const ImageView& image, const Box& box, int64_t width, int64_t height, const Mirror& mirror = {}, Filter filter = Filter::bicubic, const PictureKernel& kernel = picture_kernel());

}  // namespace seedbed::image
