#pragma once

// softmax(q k^T) v of one block of queries, online over blocks of keys.

#include "nn/kernels/attention_tile.h"

namespace seedbed::nn {

namespace {

constexpr int64_t kKeyBlock = 128;  // scores of a block of keys stay in the first cache

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
      tile.template add_products<R, 1>(k, q, kColumns, d);
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
      tile.template add_products<R, 1>(v, scores, kColumns, keys);
      tile.store(place, kColumns);
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

}  // namespace

}  // namespace seedbed::nn
