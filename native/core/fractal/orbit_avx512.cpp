#include <immintrin.h>

#include "fractal/orbit_kernel.h"

namespace seedbed::fractal {

namespace {

struct Avx512 {
  __m512 v;

  using Table = __m512;
  using Index = __m512i;

  static Avx512 load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static Avx512 all(float value) { return {_mm512_set1_ps(value)}; }
  static Table table(const float* p) { return _mm512_loadu_ps(p); }
  static Index index(const uint8_t* p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
  static Avx512 select(Table table, Index index) { return {_mm512_permutexvar_ps(index, table)}; }
  static void store_pixels(Avx512 x, Avx512 y, int32_t stride, int32_t* pixels) {
    const __m512i row = _mm512_mullo_epi32(_mm512_cvttps_epi32(y.v), _mm512_set1_epi32(stride));
    _mm512_storeu_si512(pixels, _mm512_add_epi32(row, _mm512_cvttps_epi32(x.v)));
  }
  void store(float* p) const { _mm512_storeu_ps(p, v); }
};

Avx512 operator*(Avx512 l, Avx512 r) { return {_mm512_mul_ps(l.v, r.v)}; }
Avx512 operator-(Avx512 l, Avx512 r) { return {_mm512_sub_ps(l.v, r.v)}; }
Avx512 min(Avx512 l, Avx512 r) { return {_mm512_min_ps(l.v, r.v)}; }
Avx512 max(Avx512 l, Avx512 r) { return {_mm512_max_ps(l.v, r.v)}; }
Avx512 fma(Avx512 a, Avx512 b, Avx512 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }

}  // namespace

const OrbitKernel kOrbitAvx512 = make_orbit_kernel<Avx512>("avx512");

}  // namespace seedbed::fractal
