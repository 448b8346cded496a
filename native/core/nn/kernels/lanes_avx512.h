#pragma once

#include <immintrin.h>

#include "nn/kernels/lanes.h"

namespace seedbed::nn {

namespace {

struct Avx512 {
  __m512 v;

  static constexpr int kWidth = 16;
  static constexpr int kRows = 8, kVectors = 3;  // register tile: 24 sums, 3 vectors, 1 broadcast of 32 registers
  using Sum = Avx512;
  static constexpr int kPacked = 1;  // numbers in a 32-bit word

  static Avx512 load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static Avx512 load(const uint16_t* p) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16))};
  }
  static Avx512 all(float value) { return {_mm512_set1_ps(value)}; }
  static Avx512 gather(const float* p, int32_t stride) {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return {_mm512_i32gather_ps(_mm512_mullo_epi32(lane, _mm512_set1_epi32(stride)), p, 4)};
  }
  void scatter(float* p, int32_t stride) const {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    _mm512_i32scatter_ps(p, _mm512_mullo_epi32(lane, _mm512_set1_epi32(stride)), v, 4);
  }
  static void store_words(Avx512 value, float* p) { value.store(p); }
  void store(float* p) const { _mm512_storeu_ps(p, v); }
  void store(uint16_t* p) const {
    const __m512i bits = _mm512_castps_si512(v), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    const __m512i chosen = _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), quiet);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(_mm512_srli_epi32(chosen, 16)));
  }
};

[[maybe_unused]] Avx512 operator+(Avx512 l, Avx512 r) { return {_mm512_add_ps(l.v, r.v)}; }
[[maybe_unused]] Avx512 operator-(Avx512 l, Avx512 r) { return {_mm512_sub_ps(l.v, r.v)}; }
[[maybe_unused]] Avx512 operator/(Avx512 l, Avx512 r) { return {_mm512_div_ps(l.v, r.v)}; }
[[maybe_unused]] Avx512 operator*(Avx512 l, Avx512 r) { return {_mm512_mul_ps(l.v, r.v)}; }
[[maybe_unused]] Avx512 max(Avx512 l, Avx512 r) { return {_mm512_max_ps(l.v, r.v)}; }  // r where one is NaN
Avx512 fma(Avx512 a, Avx512 b, Avx512 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }

[[maybe_unused]] Avx512 exp2(Avx512 x) {
  const __m512 n = _mm512_roundscale_ps(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  return {_mm512_scalef_ps(exp2_polynomial(Avx512{_mm512_sub_ps(x.v, n)}).v, n)};
}

}  // namespace

}  // namespace seedbed::nn
