#include <immintrin.h>

#include "fractal/orbit_kernel.h"

namespace seedbed::fractal {

namespace {

// 16 lanes as two halves.
struct Avx2 {
  __m256 low, high;

  struct Table {
    __m256 first, second;  // maps 0-7 and 8-15
  };
  struct Index {
    __m256i low, high;
  };

  static Avx2 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static Avx2 all(float value) { return {_mm256_set1_ps(value), _mm256_set1_ps(value)}; }
  static Table table(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static Index index(const uint8_t* p) {
    const auto half = [](const uint8_t* q) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(q))); };
    return {half(p), half(p + 8)};
  }
  static __m256 select(const Table& table, __m256i index) {
    const __m256 first = _mm256_permutevar8x32_ps(table.first, index), second = _mm256_permutevar8x32_ps(table.second, index);
    return _mm256_blendv_ps(first, second, _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)));  // bit 3 to the sign
  }
  static Avx2 select(const Table& table, const Index& index) { return {select(table, index.low), select(table, index.high)}; }
  static __m256i pixel(__m256 x, __m256 y, __m256i stride) {
    return _mm256_add_epi32(_mm256_mullo_epi32(_mm256_cvttps_epi32(y), stride), _mm256_cvttps_epi32(x));
  }
  static void store_pixels(const Avx2& x, const Avx2& y, int32_t stride, int32_t* pixels) {
    const __m256i all_stride = _mm256_set1_epi32(stride);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(pixels), pixel(x.low, y.low, all_stride));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(pixels + 8), pixel(x.high, y.high, all_stride));
  }
  void store(float* p) const {
    _mm256_storeu_ps(p, low);
    _mm256_storeu_ps(p + 8, high);
  }
};

Avx2 operator*(const Avx2& l, const Avx2& r) { return {_mm256_mul_ps(l.low, r.low), _mm256_mul_ps(l.high, r.high)}; }
Avx2 operator-(const Avx2& l, const Avx2& r) { return {_mm256_sub_ps(l.low, r.low), _mm256_sub_ps(l.high, r.high)}; }
Avx2 min(const Avx2& l, const Avx2& r) { return {_mm256_min_ps(l.low, r.low), _mm256_min_ps(l.high, r.high)}; }
Avx2 max(const Avx2& l, const Avx2& r) { return {_mm256_max_ps(l.low, r.low), _mm256_max_ps(l.high, r.high)}; }
Avx2 fma(const Avx2& a, const Avx2& b, const Avx2& c) { return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)}; }

}  // namespace

const OrbitKernel kOrbitAvx2 = make_orbit_kernel<Avx2>("avx2");

}  // namespace seedbed::fractal
