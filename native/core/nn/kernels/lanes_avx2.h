#pragma once

#include <immintrin.h>

#include "nn/kernels/lanes.h"

namespace seedbed::nn {

namespace {

struct Avx2 {
  __m256 v;

  static constexpr int kWidth = 8;
  static constexpr int kRows = 4, kVectors = 3;  // register tile: 12 sums, 3 vectors, 1 broadcast of 16 registers
  using Sum = Avx2;
  static constexpr int kPacked = 1;  // numbers in a 32-bit word

  static Avx2 load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static Avx2 load(const uint16_t* p) {
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16))};
  }
  static Avx2 all(float value) { return {_mm256_set1_ps(value)}; }
  static Avx2 gather(const float* p, int32_t stride) {
    return {_mm256_setr_ps(p[0], p[stride], p[2 * stride], p[3 * stride], p[4 * stride], p[5 * stride], p[6 * stride], p[7 * stride])};
  }
  void scatter(float* p, int32_t stride) const {
    alignas(32) float lanes[8];
    _mm256_store_ps(lanes, v);
    for (int i = 0; i < 8; ++i) p[i * stride] = lanes[i];
  }
  static void store_words(Avx2 value, float* p) { value.store(p); }
  void store(float* p) const { _mm256_storeu_ps(p, v); }
  void store(uint16_t* p) const {
    alignas(32) float lanes[8];
    _mm256_store_ps(lanes, v);
    for (int i = 0; i < 8; ++i) p[i] = narrow(lanes[i]);
  }
};

[[maybe_unused]] Avx2 operator+(Avx2 l, Avx2 r) { return {_mm256_add_ps(l.v, r.v)}; }
[[maybe_unused]] Avx2 operator-(Avx2 l, Avx2 r) { return {_mm256_sub_ps(l.v, r.v)}; }
[[maybe_unused]] Avx2 operator/(Avx2 l, Avx2 r) { return {_mm256_div_ps(l.v, r.v)}; }
[[maybe_unused]] Avx2 operator*(Avx2 l, Avx2 r) { return {_mm256_mul_ps(l.v, r.v)}; }
[[maybe_unused]] Avx2 max(Avx2 l, Avx2 r) { return {_mm256_max_ps(l.v, r.v)}; }  // r where one is NaN
Avx2 fma(Avx2 a, Avx2 b, Avx2 c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }

// 0 below 2^-126, NaN for NaN, nothing beyond 2^127 asked for.
[[maybe_unused]] Avx2 exp2(Avx2 x) {
  const __m256 shifted = _mm256_add_ps(x.v, _mm256_set1_ps(kRoundToInteger));
  const __m256 n = _mm256_sub_ps(shifted, _mm256_set1_ps(kRoundToInteger));
  const __m256i p = _mm256_castps_si256(exp2_polynomial(Avx2{_mm256_sub_ps(x.v, n)}).v);
  const __m256 scaled = _mm256_castsi256_ps(_mm256_add_epi32(p, _mm256_slli_epi32(_mm256_castps_si256(shifted), 23)));
  const __m256 nan = _mm256_cmp_ps(x.v, x.v, _CMP_UNORD_Q), tiny = _mm256_cmp_ps(x.v, _mm256_set1_ps(kSmallestExponent), _CMP_LT_OQ);
  return {_mm256_blendv_ps(_mm256_andnot_ps(tiny, scaled), x.v, nan)};
}

}  // namespace

}  // namespace seedbed::nn
