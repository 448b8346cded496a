#pragma once

// Shared by the vector code of the nets. It is written over a type `Lanes` (`lanes_avx512.h`, `lanes_avx2.h`,
// `lanes_portable.h`) and compiled once per instruction set, in files of their own. Nothing there may call inline library
// code: the linker could pick the copy that was compiled for a newer processor.

#include <cstdint>

namespace seedbed::nn {

// Elements in memory: float32, or bfloat16 as its bits.
enum class Element { float32, bfloat16 };

namespace {

// 2^f on [-1/2, 1/2], relative error 7.5e-8 (minimax).
constexpr float kExp2[] = {1.0000000716546849F, 0.6931469670647611F, 0.2402211972384007F, 0.05550713273497424F, 0.009675541334450408F, 0.0013276471992671748F};
constexpr float kLog2E = 1.4426950408889634F;
constexpr float kSmallestExponent = -126;        // 2^x is taken as 0 below
constexpr float kRoundToInteger = 12582912.0F;   // 1.5 * 2^23: adding it rounds to the nearest integer

[[maybe_unused]] inline float widen(uint16_t bits) { return __builtin_bit_cast(float, static_cast<uint32_t>(bits) << 16); }

// To nearest, ties to even; NaN stays NaN.
[[maybe_unused]] inline uint16_t narrow(float value) {
  const auto bits = __builtin_bit_cast(uint32_t, value);
  if (value != value) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

template <typename Lanes>
inline Lanes exp2_polynomial(Lanes f) {
  Lanes p = Lanes::all(kExp2[5]);
  for (int i = 4; i >= 0; --i) p = fma(p, f, Lanes::all(kExp2[i]));
  return p;
}

// The last, incomplete vector of a row, by way of a buffer.
template <typename Lanes, typename T>
Lanes load_part(const T* p, int64_t count) {
  alignas(64) T part[Lanes::kWidth] = {};
  for (int64_t i = 0; i < count; ++i) part[i] = p[i];
  return Lanes::load(part);
}

template <typename Lanes, typename T>
void store_part(Lanes lanes, T* p, int64_t count) {
  alignas(64) T part[Lanes::kWidth];
  lanes.store(part);
  for (int64_t i = 0; i < count; ++i) p[i] = part[i];
}

}  // namespace

}  // namespace seedbed::nn
