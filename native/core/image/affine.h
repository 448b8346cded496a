#pragma once

#include <array>

#include "image/image.h"
#include "image/picture_kernel.h"

namespace seedbed::image {

// Output pixel (x, y) shows input point (m0 x + m1 y + m2, m3 x + m4 y + m5), bicubic, `fill` where that lies outside.
// Equals Pillow's `Image.transform(size, AFFINE, m, BICUBIC, fillcolor)` bit for bit (libImaging/Geometry.c).
Image transform_affine(const Image& image, const std::array<double, 6>& m, uint8_t fill, const PictureKernel& kernel = picture_kernel());

// The matrix with which Pillow's `Image.rotate(degrees)` calls the above: counter-clockwise, about the centre.
std::array<double, 6> rotation_matrix(double degrees, int64_t width, int64_t height);

}  // namespace seedbed::image
