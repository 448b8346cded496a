#include <algorithm>
#include <cmath>

#include "fractal/orbit.h"
#include "fractal/orbit_frame.h"
#include "fractal/orbit_kernel.h"

namespace seedbed::fractal {

namespace {

// Steps that contract many systems to a point, most, nearly all. No more than needed: entries that went on shrinking
// would become denormal numbers, which processors compute slowly.
constexpr int64_t kWarmUpRows[] = {64, 192, 512, 1536};
constexpr float kContracted = 1e-6F;  // largest entry of a composed linear part that counts as nothing

const OrbitKernel& kernel_of(VectorCode code) {
  switch (code) {
#if defined(__x86_64__)
    case VectorCode::avx512bf16:
    case VectorCode::avx512: return kOrbitAvx512;
    case VectorCode::avx2: return kOrbitAvx2;
#endif
    default: return kOrbitPortable;
  }
}

bool contracted(const ChunkMaps& maps) {
  for (int lane = 0; lane < 16; ++lane)
    for (float entry : {maps.a[lane], maps.b[lane], maps.c[lane], maps.d[lane]})
      if (!(std::abs(entry) < kContracted)) return false;
  return true;
}

// Composes the last steps of each chunk if that is enough to forget where the chunk began.
bool compose_warm_up(const OrbitKernel& kernel, const OrbitTables& tables, const Steps& steps, ChunkMaps& maps) {
  for (int64_t rows : kWarmUpRows) {
    if (rows >= steps.chunk) return false;
    kernel.compose(tables, steps, rows, maps);
    if (contracted(maps)) return true;
  }
  return false;
}

// Where each chunk begins: the composed map of the chunk before it, applied to that chunk's own start.
Starts chunk_starts(const OrbitKernel& kernel, const OrbitTables& tables, const Steps& steps, std::array<double, 2> start) {
  ChunkMaps maps;
  if (!compose_warm_up(kernel, tables, steps, maps)) kernel.compose(tables, steps, steps.chunk, maps);
  Starts starts{};
  starts.x[0] = static_cast<float>(start[0]);
  starts.y[0] = static_cast<float>(start[1]);
  for (int lane = 1; lane < 16; ++lane) {
    const int before = lane - 1;
    const double x = starts.x[before], y = starts.y[before];
    starts.x[lane] = static_cast<float>(maps.a[before] * x + maps.b[before] * y + maps.e[before]);
    starts.y[lane] = static_cast<float>(maps.c[before] * x + maps.d[before] * y + maps.f[before]);
  }
  return starts;
}

bool is_usable(const OrbitBox& box) {
  for (const auto* bounds : {box.low_x, box.high_x, box.low_y, box.high_y, box.last_x, box.last_y})
    for (int lane = 0; lane < 16; ++lane)
      if (!(std::abs(bounds[lane]) < kSinglePrecision)) return false;
  return true;
}

Range range_of(const float (&low)[16], const float (&high)[16]) { return {*std::ranges::min_element(low), *std::ranges::max_element(high)}; }

}  // namespace

const char* orbit_kernel_name() { return kernel_of(vector_codes().front()).name; }

const std::vector<int32_t>& orbit_pixels_fast(const Ifs& ifs, const IndexSequence& sequence, Start start, const Frame& frame, OrbitScratch& scratch, VectorCode code) {
  const OrbitKernel& kernel = kernel_of(code);
  scratch.pixels.resize(sequence.chunk * IndexSequence::kLanes);
  const OrbitTables tables = make_tables(ifs);
  const Steps steps{sequence.interleaved.data(), sequence.chunk, sequence.points};
  const Starts starts = chunk_starts(kernel, tables, steps, start_point(ifs, start));
  OrbitBox box;
  kernel.bounds(tables, steps, starts, box);
  if (!is_usable(box)) {
    scratch.pixels = orbit_pixels_exact(ifs, sequence, start, frame);
    return scratch.pixels;
  }
  const PixelMap map = make_pixel_map(range_of(box.low_x, box.high_x), range_of(box.low_y, box.high_y), frame);
  kernel.pixels(tables, steps, starts, map, scratch.pixels.data());
  return scratch.pixels;
}

}  // namespace seedbed::fractal
