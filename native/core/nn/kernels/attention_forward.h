#pragma once

// softmax(q k^T) v of one block of queries, online over blocks of keys.

#include "nn/kernels/attention_tile.h"

namespace seedbed::nn {

namespace {

constexpr int64_t kKeyBlock = 128;  // scores of a block of keys stay in the first cache

// Sums of one block of queries over the blocks of keys. Each array has a column per query.
template <typename Op, int N>
struct OnlineSoftmax {
  using Lanes = typename Op::Sum;
  static constexpr int kWidth = Lanes::kWidth, kColumns = N * kWidth, R = Op::kRows;
  float factor;    // of the scores, in powers of 2; not negative
  float* scores;   // [kKeyBlock, kColumns], then their exponentials as words along the keys
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

  // scores = k q; keys of the block from packed [keys / R, words, R]. Returns the largest score of each query in `seen`.
  void add_scores(const float* k, const float* q, int64_t keys, int64_t words, Lanes (&seen)[N]) {
    for (int64_t i = 0; i < keys; i += R, k += words * R) {
      Tile<Op, N> tile;
      tile.clear();
      tile.template add_products<R, 1>(k, q, kColumns, words);
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

  // scores -> 2^(score * factor - largest); returns what the sums so far have to be multiplied by.
  void exponentiate(int64_t keys, Lanes (&seen)[N], Lanes (&decay)[N]) {
    const Lanes scale = Lanes::all(factor), zero = Lanes::all(0);
#pragma GCC unroll 16
    for (int j = 0; j < N; ++j) {
      const Lanes before = Lanes::load(largest + j * kWidth), now = max(before, seen[j] * scale), shift = zero - now;
      now.store(largest + j * kWidth);
      decay[j] = exp2(before - now);
      Lanes sum = zero;
      const auto exponential = [&](int64_t i) {
        const Lanes p = exp2(fma(Lanes::load(scores + i * kColumns + j * kWidth), scale, shift));
        sum = sum + p;
        return p;
      };
      if constexpr (Op::kPacked == 1) {
        for (int64_t i = 0; i < keys; ++i) exponential(i).store(scores + i * kColumns + j * kWidth);
      } else {
        for (int64_t i = 0; i < keys; i += 2) {
          const Lanes low = exponential(i), high = i + 1 < keys ? exponential(i + 1) : zero;
          Op::join(low, high).store(scores + i / 2 * kColumns + j * kWidth);
        }
      }
      fma(Lanes::load(total + j * kWidth), decay[j], sum).store(total + j * kWidth);
    }
  }

  // sums = sums * decay + v p; v packed [d / R, all words, R], at the block's first.
  void add_values(const float* v, int64_t all_words, int64_t words, int64_t padded, const Lanes (&decay)[N]) {
    for (int64_t c = 0; c < padded; c += R, v += all_words * R) {
      float* place = sums + c * kColumns;
      Tile<Op, N> tile;
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
        for (int j = 0; j < N; ++j) tile.sums[r][j] = Lanes::load(place + r * kColumns + j * kWidth) * decay[j];
      tile.template add_products<R, 1>(v, scores, kColumns, words);
      tile.store(place, kColumns);
    }
  }
};

template <typename Op>
AttentionScratch attention_scratch(int64_t keys, int64_t d) {
  constexpr int64_t columns = Op::kVectors * Op::Sum::kWidth;
  const int64_t padded = round_up(d, Op::kRows);
  return {round_up(keys, Op::kRows) * words_of<Op>(d) + words_of<Op>(keys) * padded + padded + 16, (2 * padded + d + kKeyBlock + 2) * columns};
}

template <typename Op>
float* packed_values(const AttentionHead& head, float* packed) {
  return packed + round_up(head.keys, Op::kRows) * words_of<Op>(head.d);
}

template <typename Op>
void attention_pack(const AttentionHead& head, float* packed) {
  float* values = packed_values<Op>(head, packed);
  float* staging = values + words_of<Op>(head.keys) * round_up(head.d, Op::kRows);
  pack_by_row<Op>(head.k, head.keys, head.d, staging, packed);
  pack_by_column<Op>(head.v, head.keys, head.d, staging, values);
}

template <typename Op, int N>
void attention_forward_block(const AttentionHead& head, const AttentionBlock& block, const float* packed, float* scratch) {
  using Lanes = typename Op::Sum;
  constexpr int64_t columns = N * Lanes::kWidth, R = Op::kRows;
  static_assert(kKeyBlock % R == 0 && kKeyBlock % Op::kPacked == 0);
  const int64_t d = head.d, padded = round_up(d, R), words = words_of<Op>(d);
  const bool negative = block.scale < 0;
  float* q = scratch;
  float* staging = q + d * columns;
  OnlineSoftmax<Op, N> softmax;
  softmax.factor = (negative ? -block.scale : block.scale) * kLog2E;
  softmax.scores = staging + padded * columns;
  softmax.sums = softmax.scores + kKeyBlock * columns;
  softmax.largest = softmax.sums + padded * columns;
  softmax.total = softmax.largest + columns;
  transpose_in<Op>(block.q, block.queries, d, columns, negative, staging, q);
  softmax.clear(padded);
  const float* values = packed_values<Op>(head, const_cast<float*>(packed));
  for (int64_t i = 0; i < head.keys; i += kKeyBlock) {
    const int64_t keys = head.keys - i < kKeyBlock ? head.keys - i : kKeyBlock;
    Lanes seen[N], decay[N];
    for (Lanes& lanes : seen) lanes = Lanes::all(-__builtin_inff());
    softmax.add_scores(packed + i * words, q, keys, words, seen);
    softmax.exponentiate(keys, seen, decay);
    softmax.add_values(values + i / Op::kPacked * R, words_of<Op>(head.keys), words_of<Op>(keys), padded, decay);
  }
  if (block.lse != nullptr)
    for (int64_t i = 0; i < block.queries; ++i) block.lse[i] = softmax.largest[i] + __builtin_log2f(softmax.total[i]);
  for (int64_t i = 0; i < columns; ++i) softmax.total[i] = 1 / softmax.total[i];
  transpose_out<Lanes>(softmax.sums, softmax.total, block.queries, d, columns, staging, block.out);
}

template <typename Op>
void attention_forward(const AttentionHead& head, const AttentionBlock& block, const float* packed, float* scratch) {
  static_assert(Op::kVectors == 3);
  constexpr int64_t width = Op::Sum::kWidth;
  if (block.queries <= width) return attention_forward_block<Op, 1>(head, block, packed, scratch);
  if (block.queries <= 2 * width) return attention_forward_block<Op, 2>(head, block, packed, scratch);
  attention_forward_block<Op, 3>(head, block, packed, scratch);
}

}  // namespace

}  // namespace seedbed::nn
