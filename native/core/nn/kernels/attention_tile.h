#pragma once

// Layouts and the register tile of the attention kernels.

#include "nn/kernels/attention_kernel.h"

namespace seedbed::nn {

namespace {

constexpr int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

// 32-bit words that hold d numbers of the operands of a product: one float32 each, or two bfloat16.
template <typename Op>
constexpr int64_t words_of(int64_t d) {
  return (d + Op::kPacked - 1) / Op::kPacked;
}

inline const uint16_t* bits_of(const Rows& rows, int64_t i) { return static_cast<const uint16_t*>(rows.data) + i * rows.stride; }

inline float pair_of(uint16_t low, uint16_t high) { return __builtin_bit_cast(float, static_cast<uint32_t>(high) << 16 | low); }

// One row as float32.
template <typename Lanes>
void read_row(const Rows& rows, int64_t i, int64_t d, float* out) {
  int64_t c = 0;
  if (rows.element == Element::float32) {
    const float* in = static_cast<const float*>(rows.data) + i * rows.stride;
    for (; c + Lanes::kWidth <= d; c += Lanes::kWidth) Lanes::load(in + c).store(out + c);
    for (; c < d; ++c) out[c] = in[c];
  } else {
    const uint16_t* in = bits_of(rows, i);
    for (; c + Lanes::kWidth <= d; c += Lanes::kWidth) Lanes::load(in + c).store(out + c);
    for (; c < d; ++c) out[c] = widen(in[c]);
  }
}

template <typename Lanes>
void write_row(const float* in, int64_t d, const Rows& rows, int64_t i) {
  int64_t c = 0;
  if (rows.element == Element::float32) {
    float* out = static_cast<float*>(rows.data) + i * rows.stride;
    for (; c + Lanes::kWidth <= d; c += Lanes::kWidth) Lanes::load(in + c).store(out + c);
    for (; c < d; ++c) out[c] = in[c];
  } else {
    uint16_t* out = static_cast<uint16_t*>(rows.data) + i * rows.stride;
    for (; c + Lanes::kWidth <= d; c += Lanes::kWidth) Lanes::load(in + c).store(out + c);
    for (; c < d; ++c) out[c] = narrow(in[c]);
  }
}

// One row as words, pairs along the row.
template <typename Op>
void read_words(const Rows& rows, int64_t i, int64_t d, float* out) {
  if constexpr (Op::kPacked == 1) {
    read_row<typename Op::Sum>(rows, i, d, out);
  } else {
    const uint16_t* in = bits_of(rows, i);
    for (int64_t c = 0; c + 1 < d; c += 2) out[c / 2] = pair_of(in[c], in[c + 1]);
    if (d % 2 == 1) out[d / 2] = pair_of(in[d - 1], 0);
  }
}

// Rows i and, of bfloat16, i + 1 as words, pairs across the two rows; a row past `count` counts as zeros.
template <typename Op>
void read_joined(const Rows& rows, int64_t i, int64_t count, int64_t d, float* out) {
  if constexpr (Op::kPacked == 1) {
    read_row<typename Op::Sum>(rows, i, d, out);
  } else {
    const uint16_t *low = bits_of(rows, i), *high = bits_of(rows, i + 1);
    for (int64_t c = 0; c < d; ++c) out[c] = pair_of(low[c], i + 1 < count ? high[c] : uint16_t{0});
  }
}

template <typename Op>
void negate(float* words, int64_t count) {
  constexpr uint32_t signs = Op::kPacked == 1 ? 0x80000000U : 0x80008000U;
  for (int64_t i = 0; i < count; ++i) words[i] = __builtin_bit_cast(float, __builtin_bit_cast(uint32_t, words[i]) ^ signs);
}

// Rows [count, d] -> [words, columns], zeros behind `count`. `staging` holds [columns, words].
template <typename Op>
void transpose_in(const Rows& rows, int64_t count, int64_t d, int64_t columns, bool negative, float* staging, float* out) {
  using Lanes = typename Op::Sum;
  const int64_t words = words_of<Op>(d);
  for (int64_t i = 0; i < count; ++i) read_words<Op>(rows, i, d, staging + i * words);
  if (negative) negate<Op>(staging, count * words);
  for (int64_t i = count * words; i < columns * words; ++i) staging[i] = 0;
  for (int64_t i = 0; i < columns; i += Lanes::kWidth)
    for (int64_t c = 0; c < words; ++c) Lanes::gather(staging + i * words + c, static_cast<int32_t>(words)).store(out + c * columns + i);
}

// [d, columns], each column multiplied by its factor -> rows [count, d].
template <typename Lanes>
void transpose_out(const float* in, const float* factors, int64_t count, int64_t d, int64_t columns, float* staging, const Rows& rows) {
  for (int64_t i = 0; i < columns; i += Lanes::kWidth) {
    const Lanes factor = Lanes::load(factors + i);
    for (int64_t c = 0; c < d; ++c) (Lanes::load(in + c * columns + i) * factor).scatter(staging + i * d + c, static_cast<int32_t>(d));
  }
  for (int64_t i = 0; i < count; ++i) write_row<Lanes>(staging + i * d, d, rows, i);
}

// Rows [count, d] -> [count / R, words, R], the last group filled with zeros: broadcast along the rows.
template <typename Op>
void pack_by_row(const Rows& rows, int64_t count, int64_t d, float* staging, float* out) {
  constexpr int R = Op::kRows;
  const int64_t words = words_of<Op>(d);
  for (int64_t i = 0; i < count; i += R, out += words * R)
    for (int64_t r = 0; r < R; ++r) {
      if (i + r < count) {
        read_words<Op>(rows, i + r, d, staging);
        for (int64_t c = 0; c < words; ++c) out[c * R + r] = staging[c];
      } else {
        for (int64_t c = 0; c < words; ++c) out[c * R + r] = 0;
      }
    }
}

// Rows [count, d] -> [d / R, words of count, R], the last group filled with zeros: broadcast along the head size.
template <typename Op>
void pack_by_column(const Rows& rows, int64_t count, int64_t d, float* staging, float* out) {
  constexpr int R = Op::kRows;
  const int64_t padded = round_up(d, R), words = words_of<Op>(count);
  for (int64_t c = 0; c < padded; ++c) staging[c] = 0;
  for (int64_t i = 0; i < words; ++i) {
    read_joined<Op>(rows, i * Op::kPacked, count, d, staging);
    for (int64_t c = 0; c < padded; c += R)
      for (int64_t r = 0; r < R; ++r) out[c * words + i * R + r] = staging[c + r];
  }
}

// A register tile: sums[r][j] += sum over words n of a[n][r] * b[n][j], r < R broadcast, j < N vectors.
template <typename Op, int N>
struct Tile {
  using Lanes = typename Op::Sum;
  static constexpr int R = Op::kRows, W = Lanes::kWidth;
  Lanes sums[R][N];

  void clear() {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
      for (int j = 0; j < N; ++j) sums[r][j] = Lanes::all(0);
  }
  void load(const float* p, int64_t stride) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
      for (int j = 0; j < N; ++j) sums[r][j] = Lanes::load(p + r * stride + j * W);
  }
  void store(float* p, int64_t stride) const {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
      for (int j = 0; j < N; ++j) sums[r][j].store(p + r * stride + j * W);
  }
  // a[n][r] lies at a + n * Step + r * Row; b [length, b_stride]
  template <int Step, int Row>
  void add_products(const float* a, const float* b, int64_t b_stride, int64_t length) {
    for (int64_t n = 0; n < length; ++n, a += Step, b += b_stride) {
      Op right[N];
#pragma GCC unroll 16
      for (int j = 0; j < N; ++j) right[j] = Op::load(b + j * W);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const Op left = Op::all(a[r * Row]);
#pragma GCC unroll 16
        for (int j = 0; j < N; ++j) sums[r][j] = fma(left, right[j], sums[r][j]);
      }
    }
  }
};

}  // namespace

}  // namespace seedbed::nn
