#pragma once

#include "nn/kernels/lanes_avx512.h"

namespace seedbed::nn {

namespace {

// Pairs of bfloat16: a product of two vectors of pairs adds both products of a pair to one float32.
struct Avx512Pairs {
  __m512 v;  // the bits; never computed with as floats

  using Sum = Avx512;
  static constexpr int kRows = Avx512::kRows, kVectors = Avx512::kVectors, kPacked = 2;

  static Avx512Pairs load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static Avx512Pairs all(float word) { return {_mm512_set1_ps(word)}; }
  // Word i: low[i], high[i].
  static Avx512Pairs join(Avx512 low, Avx512 high) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return {_mm512_castsi512_ps(_mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(high.v, low.v)))};
  }
  // 16 neighbours as 8 words.
  static void store_words(Avx512 value, float* p) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), (__m256i)_mm512_cvtneps_pbh(value.v)); }
  void store(float* p) const { _mm512_storeu_ps(p, v); }
};

Avx512 fma(Avx512Pairs a, Avx512Pairs b, Avx512 c) { return {_mm512_dpbf16_ps(c.v, (__m512bh)a.v, (__m512bh)b.v)}; }

}  // namespace

}  // namespace seedbed::nn
