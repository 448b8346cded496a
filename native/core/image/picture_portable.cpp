#include "image/picture_loops.h"

namespace seedbed::image {

const PictureKernel kPicturePortable = make_picture_kernel("portable");

}  // namespace seedbed::image
