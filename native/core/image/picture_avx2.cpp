#include "image/picture_loops.h"

namespace seedbed::image {

const PictureKernel kPictureAvx2 = make_picture_kernel("avx2");

}  // namespace seedbed::image
