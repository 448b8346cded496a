#include "image/picture_kernel.h"

#include "tensor/vector_code.h"

namespace seedbed::image {

const PictureKernel& picture_kernel(const char* code) {
  switch (vector_code(code)) {
#if defined(__x86_64__)
    case VectorCode::avx512bf16:
    case VectorCode::avx512: return kPictureAvx512;
    case VectorCode::avx2: return kPictureAvx2;
#endif
    default: return kPicturePortable;
  }
}

}  // namespace seedbed::image
