#pragma once

// Attention without a mask, for one head and one block of queries, in tiles that stay in registers and the first caches.
//
// Everything is transposed: a vector holds one number of `kWidth` queries, keys and head size are looped over. So the softmax
// runs down the lanes without shuffles, neither head sizes nor numbers of keys are padded to vectors, and the operand
// that is not a vector (keys, values) is broadcast from memory.

#include "nn/kernels/lanes.h"

namespace seedbed::nn {

// Rows of a head: row i begins at data + i * stride elements; its d elements are contiguous.
struct Rows {
  void* data;
  int64_t stride;
  Element element;
};

struct AttentionHead {
  Rows k, v;      // [keys, d]
  int64_t keys, d;
};

struct AttentionBlock {
  Rows q, out;    // [queries, d]
  int64_t queries;  // at most the kernel's
  float scale;
  float* lse;     // [queries], log2 of the sum of 2^(score * log2 e); may be null
};

// Floats of scratch memory, 64-byte aligned.
struct AttentionScratch {
  int64_t packed;  // one head's keys and values
  int64_t block;   // one block of queries
};

struct AttentionKernel {
  const char* name;
  int64_t queries;  // of one block
  AttentionScratch (*scratch)(int64_t keys, int64_t d);
  void (*pack)(const AttentionHead&, float* packed);
  void (*forward)(const AttentionHead&, const AttentionBlock&, const float* packed, float* scratch);
};

extern const AttentionKernel kAttentionPortable;
extern const AttentionKernel kAttentionAvx2;
extern const AttentionKernel kAttentionAvx512;

namespace {

constexpr int64_t kKeyBlock = 128;  // scores of a block of keys stay in the first cache

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
  static constexpr int R = Lanes::kRows, kColumns = N * Lanes::kWidth;
  Lanes sums[R][N];

  void clear() {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
      for (int j = 0; j < N; ++j) sums[r][j] = Lanes::all(0);
  }
  // a [length, R], b [length, kColumns]
  void add_products(const float* a, const float* b, int64_t length) {
    for (int64_t n = 0; n < length; ++n, a += R, b += kColumns) {
      Lanes right[N];
#pragma GCC unroll 16
      for (int j = 0; j < N; ++j) right[j] = Lanes::load(b + j * Lanes::kWidth);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const Lanes left = Lanes::all(a[r]);
#pragma GCC unroll 16
        for (int j = 0; j < N; ++j) sums[r][j] = fma(left, right[j], sums[r][j]);
      }
    }
  }
};

// Sums of one block of queries over the blocks of keys. Each array has a column per query.
template <typename Lanes, int N>
struct OnlineSoftmax {
  static constexpr int kWidth = Lanes::kWidth, kColumns = N * kWidth, R = Lanes::kRows;
  float* scores;   // [kKeyBlock, kColumns]
  float* sums;     // [d padded to R, kColumns]
  float* largest;  // [kColumns]
  float* total;    // [kColumns]

  void clear(int64_t padded) {
    for (int64_t i = 0; i < padded * kColumns; ++i) sums[i] = 0;
    for (int64_t i = 0; i < kColumns; ++i) {
      largest[i] = -__builtin_inff();
      total[i] = 0;
    }
  }

  // scores = k q; keys of the block from packed [keys / R, d, R]. Returns the largest score of each query in `seen`.
  void add_scores(const float* k, const float* q, int64_t keys, int64_t d, Lanes (&seen)[N]) {
    for (int64_t i = 0; i < keys; i += R, k += d * R) {
      Tile<Lanes, N> tile;
      tile.clear();
      tile.add_products(k, q, d);
      float* out = scores + i * kColumns;
      if (keys - i >= R) {
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
          for (int j = 0; j < N; ++j) {
            seen[j] = max(seen[j], tile.sums[r][j]);
            tile.sums[r][j].store(out + r * kColumns + j * kWidth);
          }
      } else {
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
          for (int j = 0; j < N; ++j)
            if (r < keys - i) {
              seen[j] = max(seen[j], tile.sums[r][j]);
              tile.sums[r][j].store(out + r * kColumns + j * kWidth);
            }
      }
    }
  }

  // scores -> 2^(score - largest); returns what the sums so far have to be multiplied by.
  void exponentiate(int64_t keys, Lanes (&seen)[N], Lanes (&decay)[N]) {
#pragma GCC unroll 16
    for (int j = 0; j < N; ++j) {
      const Lanes before = Lanes::load(largest + j * kWidth), now = max(before, seen[j]);
      now.store(largest + j * kWidth);
      decay[j] = exp2(before - now);
      Lanes sum = Lanes::all(0);
      for (int64_t i = 0; i < keys; ++i) {
        float* place = scores + i * kColumns + j * kWidth;
        const Lanes p = exp2(Lanes::load(place) - now);
        p.store(place);
        sum = sum + p;
      }
      fma(Lanes::load(total + j * kWidth), decay[j], sum).store(total + j * kWidth);
    }
  }

  // sums = sums * decay + v p; v packed [d / R, all keys, R], at the block's first key.
  void add_values(const float* v, int64_t all_keys, int64_t keys, int64_t padded, const Lanes (&decay)[N]) {
    for (int64_t c = 0; c < padded; c += R, v += all_keys * R) {
      float* place = sums + c * kColumns;
      Tile<Lanes, N> tile;
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
        for (int j = 0; j < N; ++j) tile.sums[r][j] = Lanes::load(place + r * kColumns + j * kWidth) * decay[j];
      tile.add_products(v, scores, keys);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
        for (int j = 0; j < N; ++j) tile.sums[r][j].store(place + r * kColumns + j * kWidth);
    }
  }
};

template <typename Lanes>
AttentionScratch attention_scratch(int64_t keys, int64_t d) {
  constexpr int64_t columns = Lanes::kVectors * Lanes::kWidth;
  const int64_t padded = round_up(d, Lanes::kRows);
  return {round_up(keys, Lanes::kRows) * d + keys * padded + padded + 16, (2 * padded + d + kKeyBlock + 2) * columns};
}

template <typename Lanes>
float* packed_values(const AttentionHead& head, float* packed) {
  return packed + round_up(head.keys, Lanes::kRows) * head.d;
}

template <typename Lanes>
void attention_pack(const AttentionHead& head, float* packed) {
  float* values = packed_values<Lanes>(head, packed);
  float* staging = values + head.keys * round_up(head.d, Lanes::kRows);
  pack_by_row<Lanes>(head.k, head.keys, head.d, staging, packed);
  pack_by_column<Lanes>(head.v, head.keys, head.d, staging, values);
}

template <typename Lanes, int N>
void attention_forward_block(const AttentionHead& head, const AttentionBlock& block, const float* packed, float* scratch) {
  constexpr int64_t columns = N * Lanes::kWidth, R = Lanes::kRows;
  const int64_t d = head.d, padded = round_up(d, R);
  float* q = scratch;
  float* staging = q + d * columns;
  OnlineSoftmax<Lanes, N> softmax;
  softmax.scores = staging + padded * columns;
  softmax.sums = softmax.scores + kKeyBlock * columns;
  softmax.largest = softmax.sums + padded * columns;
  softmax.total = softmax.largest + columns;
  transpose_in<Lanes>(block.q, block.queries, d, columns, block.scale * kLog2E, staging, q);
  softmax.clear(padded);
  const float* values = packed_values<Lanes>(head, const_cast<float*>(packed));
  for (int64_t i = 0; i < head.keys; i += kKeyBlock) {
    const int64_t keys = head.keys - i < kKeyBlock ? head.keys - i : kKeyBlock;
    Lanes seen[N], decay[N];
    for (Lanes& lanes : seen) lanes = Lanes::all(-__builtin_inff());
    softmax.add_scores(packed + i * d, q, keys, d, seen);
    softmax.exponentiate(keys, seen, decay);
    softmax.add_values(values + i * R, head.keys, keys, padded, decay);
  }
  if (block.lse != nullptr)
    for (int64_t i = 0; i < block.queries; ++i) block.lse[i] = softmax.largest[i] + __builtin_log2f(softmax.total[i]);
  for (int64_t i = 0; i < columns; ++i) softmax.total[i] = 1 / softmax.total[i];
  transpose_out<Lanes>(softmax.sums, softmax.total, block.queries, d, columns, staging, block.out);
}

template <typename Lanes>
void attention_forward(const AttentionHead& head, const AttentionBlock& block, const float* packed, float* scratch) {
  static_assert(Lanes::kVectors == 3);
  if (block.queries <= Lanes::kWidth) return attention_forward_block<Lanes, 1>(head, block, packed, scratch);
  if (block.queries <= 2 * Lanes::kWidth) return attention_forward_block<Lanes, 2>(head, block, packed, scratch);
  attention_forward_block<Lanes, 3>(head, block, packed, scratch);
}

template <typename Lanes>
constexpr AttentionKernel make_attention_kernel(const char* name) {
  return {name, Lanes::kVectors * Lanes::kWidth, attention_scratch<Lanes>, attention_pack<Lanes>, attention_forward<Lanes>};
}

}  // namespace

}  // namespace seedbed::nn
