#pragma once

// Vectors of bytes and numbers for picture_loops.h, and conversions between them.

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include <cstdint>

namespace seedbed::image {

namespace {

typedef uint8_t Bytes16 __attribute__((vector_size(16)));
typedef int32_t Ints4 __attribute__((vector_size(16)));
typedef int32_t Ints8 __attribute__((vector_size(32)));
typedef int32_t Ints16 __attribute__((vector_size(64)));
typedef float Floats16 __attribute__((vector_size(64)));
typedef double Doubles4 __attribute__((vector_size(32)));
typedef double Doubles8 __attribute__((vector_size(64)));

template <typename Vector>
Vector load(const uint8_t* p) {
  Vector v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}

template <typename Vector>
void store(const Vector& v, uint8_t* p) {
  __builtin_memcpy(p, &v, sizeof(v));
}

// Conversions of bytes, which GCC 12 does number by number unless told how.
#if defined(__AVX512F__)
Ints16 widen(Bytes16 v) { return reinterpret_cast<Ints16>(_mm512_cvtepu8_epi32(reinterpret_cast<__m128i>(v))); }
Bytes16 narrow(Ints16 v) { return reinterpret_cast<Bytes16>(_mm512_cvtepi32_epi8(reinterpret_cast<__m512i>(v))); }
Doubles8 real(Ints8 v) { return reinterpret_cast<Doubles8>(_mm512_cvtepi32_pd(reinterpret_cast<__m256i>(v))); }
#else
#if defined(__AVX2__)
Ints16 widen(Bytes16 v) {
  const auto bytes = reinterpret_cast<__m128i>(v);
  const __m256i halves[2] = {_mm256_cvtepu8_epi32(bytes), _mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8))};
  return load<Ints16>(reinterpret_cast<const uint8_t*>(halves));
}
Bytes16 narrow(Ints16 v) {  // of numbers that are bytes
  __m256i halves[2];
  store(v, reinterpret_cast<uint8_t*>(halves));
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(halves[0], halves[1]), 0xD8);
  return reinterpret_cast<Bytes16>(_mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}
#else
Ints16 widen(Bytes16 v) { return __builtin_convertvector(v, Ints16); }
Bytes16 narrow(Ints16 v) { return __builtin_convertvector(v, Bytes16); }
#endif
Doubles8 real(Ints8 v) { return __builtin_convertvector(v, Doubles8); }
#endif
#if defined(__AVX2__)
Ints8 widen(uint64_t v) { return reinterpret_cast<Ints8>(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<int64_t>(v)))); }
#else
Ints8 widen(uint64_t v) {
  Ints8 wide;
  for (int i = 0; i < 8; ++i) wide[i] = static_cast<int32_t>(v >> (8 * i) & 255);
  return wide;
}
#endif
Doubles4 real(Ints4 v) { return __builtin_convertvector(v, Doubles4); }

}  // namespace

}  // namespace seedbed::image
