#pragma once

#include "image/image.h"

namespace seedbed::image {

struct CannyOptions {
  double sigma = 1;   // of the Gaussian before, pixels; above 0 to 16
  double low = 0.1;   // gradient, of values in [0, 1], that an edge may fall to
  double high = 0.2;  // gradient that some point of an edge must reach; at least `low`
};

// Edges by Canny (1986), of the gray picture: 255 on them, else 0. Sobel's gradient, kept where it is largest along its own direction, the values between pixels interpolated; then
// all that hangs together above `low` and somewhere reaches `high`. Beyond the border the last pixels go on; pixels on the border are no edges. As `skimage.feature.canny(mode='nearest')`.
Image canny(const Image& image, const CannyOptions& options = {});

}  // namespace seedbed::image
