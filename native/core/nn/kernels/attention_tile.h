#pragma once

// Layouts and the register tile of the attention kernels.

#include "nn/kernels/attention_kernel.h"

namespace seedbed::nn {

namespace {

constexpr int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

// One row as float32, multiplied by `scale`.
template <typename Lanes>
void read_row(const Rows& rows, int64_t i, int64_t d, float scale, float* out) {
  const Lanes factor = Lanes::all(scale);
  int64_t c = 0;
  if (rows.element == Element::float32) {
    const float* in = static_cast<const float*>(rows.data) + i * rows.stride;
    for (; c + Lanes::kWidth <= d; c += Lanes::kWidth) (Lanes::load(in + c) * factor).store(out + c);
    for (; c < d; ++c) out[c] = in[c] * scale;
  } else {
    const uint16_t* in = static_cast<const uint16_t*>(rows.data) + i * rows.stride;
    for (; c + Lanes::kWidth <= d; c += Lanes::kWidth) (Lanes::load(in + c) * factor).store(out + c);
    for (; c < d; ++c) out[c] = widen(in[c]) * scale;
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

// Rows [count, d] -> [d, columns], zeros behind `count`. `staging` holds [columns, d].
template <typename Lanes>
void transpose_in(const Rows& rows, int64_t count, int64_t d, int64_t columns, float scale, float* staging, float* out) {
  for (int64_t i = 0; i < count; ++i) read_row<Lanes>(rows, i, d, scale, staging + i * d);
  for (int64_t i = count * d; i < columns * d; ++i) staging[i] = 0;
  for (int64_t i = 0; i < columns; i += Lanes::kWidth)
    for (int64_t c = 0; c < d; ++c) Lanes::gather(staging + i * d + c, static_cast<int32_t>(d)).store(out + c * columns + i);
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

// Rows [count, d] -> [count / R, d, R], the last group filled with zeros: broadcast along the rows.
template <typename Lanes>
void pack_by_row(const Rows& rows, int64_t count, int64_t d, float* staging, float* out) {
  constexpr int R = Lanes::kRows;
  for (int64_t i = 0; i < count; i += R, out += d * R)
    for (int64_t r = 0; r < R; ++r) {
      if (i + r < count) {
        read_row<Lanes>(rows, i + r, d, 1, staging);
        for (int64_t c = 0; c < d; ++c) out[c * R + r] = staging[c];
      } else {
        for (int64_t c = 0; c < d; ++c) out[c * R + r] = 0;
      }
    }
}

// Rows [count, d] -> [d / R, count, R], the last group filled with zeros: broadcast along the head size.
template <typename Lanes>
void pack_by_column(const Rows& rows, int64_t count, int64_t d, float* staging, float* out) {
  constexpr int R = Lanes::kRows;
  const int64_t padded = round_up(d, R);
  for (int64_t c = 0; c < padded; ++c) staging[c] = 0;
  for (int64_t i = 0; i < count; ++i) {
    read_row<Lanes>(rows, i, d, 1, staging);
    for (int64_t c = 0; c < padded; c += R)
      for (int64_t r = 0; r < R; ++r) out[(c * count + i * R) + r] = staging[c + r];
  }
}

// A register tile: sums[r][j] += sum over n of a[n][r] * b[n][j], r < R broadcast, j < N vectors.
template <typename Lanes, int N>
struct Tile {
  static constexpr int R = Lanes::kRows, W = Lanes::kWidth;
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
      Lanes right[N];
#pragma GCC unroll 16
      for (int j = 0; j < N; ++j) right[j] = Lanes::load(b + j * W);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const Lanes left = Lanes::all(a[r * Row]);
#pragma GCC unroll 16
        for (int j = 0; j < N; ++j) sums[r][j] = fma(left, right[j], sums[r][j]);
      }
    }
  }
};

}  // namespace

}  // namespace seedbed::nn
