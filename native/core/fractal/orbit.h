#pragma once

#include <cstdint>
#include <vector>

#include "fractal/ifs.h"
#include "fractal/index_sequence.h"
#include "tensor/vector_code.h"

namespace seedbed::fractal {

enum class Start { origin, fixed_point };
enum class Aspect { stretch, keep };

// How points of the plane become pixels.
struct Frame {
  int64_t size = 512;               // pixels, both sides
  int64_t padding = 6;              // empty pixels at each side
  int64_t stride = 512;             // offset of the row below
  Aspect aspect = Aspect::stretch;  // the reference stretches both axes to fill the frame
};

// The chaos game in double precision, one point after the other, as the released code plays it: points from the first
// non-finite one on, and the 100 before it, are left out. Returns y * stride + x per point; empty when none is left.
std::vector<int32_t> orbit_pixels_exact(const Ifs& ifs, const IndexSequence& sequence, Start start, const Frame& frame);

// The same in single precision: 16 chunks of the sequence run side by side in vector registers. The start of a chunk is
// the exact affine composition of the steps before it (64 to 1536 of them, as many as contract to nothing, else the whole
// chunk). The result does not depend on the processor, nor on `code`. Falls back to the exact orbit when a point is not finite.
// `scratch` is reused from call to call.
struct OrbitScratch {
  std::vector<int32_t> pixels;  // [chunk, 16]
};
const std::vector<int32_t>& orbit_pixels_fast(const Ifs& ifs, const IndexSequence& sequence, Start start, const Frame& frame, OrbitScratch& scratch,
                                              VectorCode code = vector_codes().front());

// The name of the vector code that `orbit_pixels_fast` runs here: "avx512", "avx2" or "portable".
const char* orbit_kernel_name();

}  // namespace seedbed::fractal
