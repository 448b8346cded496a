#pragma once

#include "nn/kernels/lanes.h"

namespace seedbed::nn {

namespace {

// Four floats in the compiler's own vector type: SSE2 on x86-64, NEON on ARM.
struct Portable {
  typedef float Vector __attribute__((vector_size(16)));
  typedef int32_t Bits __attribute__((vector_size(16)));
  Vector v;

  static constexpr int kWidth = 4;
  static constexpr int kRows = 4, kVectors = 3;
  using Sum = Portable;
  static constexpr int kPacked = 1;  // numbers in a 32-bit word

  static Portable load(const float* p) { return {Vector{p[0], p[1], p[2], p[3]}}; }
  static Portable load(const uint16_t* p) { return {Vector{widen(p[0]), widen(p[1]), widen(p[2]), widen(p[3])}}; }
  static Portable all(float value) { return {Vector{value, value, value, value}}; }
  static Portable gather(const float* p, int32_t stride) { return {Vector{p[0], p[stride], p[2 * stride], p[3 * stride]}}; }
  void scatter(float* p, int32_t stride) const {
    for (int i = 0; i < 4; ++i) p[i * stride] = v[i];
  }
  static void store_words(Portable value, float* p) { value.store(p); }
  void store(float* p) const {
    for (int i = 0; i < 4; ++i) p[i] = v[i];
  }
  void store(uint16_t* p) const {
    for (int i = 0; i < 4; ++i) p[i] = narrow(v[i]);
  }
};

inline Portable operator+(Portable l, Portable r) { return {l.v + r.v}; }
inline Portable operator-(Portable l, Portable r) { return {l.v - r.v}; }
[[maybe_unused]] inline Portable operator/(Portable l, Portable r) { return {l.v / r.v}; }
inline Portable operator*(Portable l, Portable r) { return {l.v * r.v}; }
[[maybe_unused]] inline Portable max(Portable l, Portable r) { return {l.v > r.v ? l.v : r.v}; }  // r where one is NaN
inline Portable fma(Portable a, Portable b, Portable c) { return {a.v * b.v + c.v}; }

// 0 below 2^-126, NaN for NaN, nothing beyond 2^127 asked for.
[[maybe_unused]] inline Portable exp2(Portable x) {
  const Portable::Vector shifted = x.v + kRoundToInteger, n = shifted - kRoundToInteger;
  const auto p = reinterpret_cast<Portable::Bits>(exp2_polynomial(Portable{x.v - n}).v);
  const auto scaled = reinterpret_cast<Portable::Vector>(p + (reinterpret_cast<Portable::Bits>(shifted) << 23));
  const Portable::Vector zero{}, positive = x.v < kSmallestExponent ? zero : scaled;
  return {x.v == x.v ? positive : x.v};
}

}  // namespace

}  // namespace seedbed::nn
