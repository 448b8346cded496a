#pragma once

#include "image/image.h"
#include "image/picture_kernel.h"

namespace seedbed::image {

// In-place adjustments, each equal to Pillow's function of the same meaning, bit for bit.

void auto_contrast(Image& image);                             // ImageOps.autocontrast, no cut-off
void equalize(Image& image);                                  // ImageOps.equalize
void invert(Image& image);                                    // ImageOps.invert
void posterize(Image& image, int bits);                       // ImageOps.posterize, keeps `bits` high bits (0 to 8)
void solarize(Image& image, int threshold);                   // ImageOps.solarize, inverts values >= threshold
void solarize_add(Image& image, int add, int threshold = 128);  // adds to values below threshold (AutoAugment)

// ImageEnhance: 1 leaves the picture as it is, 0 gives the degenerate one, others extrapolate.
void enhance_colour(Image& image, float factor, const PictureKernel& kernel = picture_kernel());  // degenerate: gray
void enhance_contrast(Image& image, float factor);    // degenerate: the mean gray
void enhance_brightness(Image& image, float factor);  // degenerate: black
void enhance_sharpness(Image& image, float factor, const PictureKernel& kernel = picture_kernel());  // degenerate: smoothed 3x3

}  // namespace seedbed::image
