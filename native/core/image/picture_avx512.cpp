#include "image/picture_loops.h"

namespace seedbed::image {

const PictureKernel kPictureAvx512 = make_picture_kernel("avx512");

}  // namespace seedbed::image
