#pragma once

// Gradients of attention, from the probabilities recomputed out of the log-sum-exp:
//   P = 2^(s - lse)   dV = P^T dO   dS = P * (dO V^T - rowsum(dO * O))   dQ = dS K scale   dK = dS^T Q scale

#include "nn/kernels/attention_tile.h"

namespace seedbed::nn {

namespace {

constexpr int64_t kGradientKeyBlock = 64;  // probabilities and their gradients of a block stay in the first cache

// The next piece of scratch memory, on a cache line.
inline float* take(float*& scratch, int64_t count) {
  float* piece = scratch;
  scratch += round_up(count, 16);
  return piece;
}

template <typename Op, int N>
struct Gradient {
  using Lanes = typename Op::Sum;
  static constexpr int64_t W = Lanes::kWidth, R = Op::kRows, kColumns = N * W, kPacked = Op::kPacked;
  const AttentionGradient& in;
  int64_t d, d_words, d_rows, d_lanes;  // head size; its words; it padded to R and to W
  int64_t keys, key_words;              // padded to R; words

  // Of all the keys.
  float *k_rows, *v_rows;  // [keys / R, d_words, R]
  float* k_columns;        // [d_rows / R, key_words, R]
  float *grad_k, *grad_v;  // [keys, d_lanes]
  // Of a block of queries, in columns and in rows.
  float *q_columns, *o_columns;  // [d_words, kColumns]
  float *q_lanes, *o_lanes;      // [words of kColumns, d_lanes]
  float *lse, *delta;            // [kColumns]
  float* grad_q;                 // [d_rows, kColumns]
  float* staging;                // [kColumns, d_rows]
  // Of a block of queries and one of keys: probabilities and the scores' gradients, as words along the queries.
  float *p, *ds;    // [kGradientKeyBlock, kColumns]
  float* ds_joined;  // words along the keys; the same as ds where words are single numbers

  Gradient(const AttentionGradient& gradient, float* scratch)
      : in(gradient),
        d(gradient.head.d),
        d_words(words_of<Op>(d)),
        d_rows(round_up(d, R)),
        d_lanes(round_up(d, W)),
        keys(round_up(gradient.head.keys, R)),
        key_words(words_of<Op>(gradient.head.keys)) {
    k_rows = take(scratch, keys * d_words);
    v_rows = take(scratch, keys * d_words);
    k_columns = take(scratch, key_words * d_rows);
    grad_k = take(scratch, keys * d_lanes);
    grad_v = take(scratch, keys * d_lanes);
    q_columns = take(scratch, d_words * kColumns);
    o_columns = take(scratch, d_words * kColumns);
    q_lanes = take(scratch, d_lanes * kColumns);
    o_lanes = take(scratch, d_lanes * kColumns);
    lse = take(scratch, kColumns);
    delta = take(scratch, kColumns);
    grad_q = take(scratch, d_rows * kColumns);
    staging = take(scratch, d_rows * kColumns);
    p = take(scratch, kGradientKeyBlock * kColumns);
    ds = take(scratch, kGradientKeyBlock * kColumns);
    ds_joined = kPacked == 1 ? ds : take(scratch, kGradientKeyBlock / kPacked * kColumns);
  }

  static int64_t scratch_size(int64_t keys, int64_t d) {
    const int64_t most = round_up(d, R) + W, padded = keys + R;
    return padded * (2 * d + 3 * most) + kColumns * (7 * most + 2 + 3 * kGradientKeyBlock) + 16 * 16;
  }

  void pack_keys() {
    pack_by_row<Op>(in.head.k, in.head.keys, d, staging, k_rows);
    pack_by_row<Op>(in.head.v, in.head.keys, d, staging, v_rows);
    pack_by_column<Op>(in.head.k, in.head.keys, d, staging, k_columns);
    for (int64_t i = 0; i < keys * d_lanes; ++i) grad_k[i] = grad_v[i] = 0;
  }

  static Rows from_row(const Rows& rows, int64_t first) {
    const int64_t size = rows.element == Element::float32 ? 4 : 2;
    return {static_cast<char*>(rows.data) + first * rows.stride * size, rows.stride, rows.element};
  }

  // Rows of queries as words along the queries.
  void read_lanes(const Rows& rows, int64_t count, float* out) {
    for (int64_t i = 0; i < count; i += kPacked, out += d_lanes) {
      read_joined<Op>(rows, i, count, d, out);
      for (int64_t c = d; c < d_lanes; ++c) out[c] = 0;
    }
  }

  void read_queries(int64_t first, int64_t count) {
    const Rows q = from_row(in.q, first), grad_out = from_row(in.grad_out, first), out = from_row(in.out, first);
    transpose_in<Op>(q, count, d, kColumns, false, staging, q_columns);
    transpose_in<Op>(grad_out, count, d, kColumns, false, staging, o_columns);
    read_lanes(q, count, q_lanes);
    read_lanes(grad_out, count, o_lanes);
    for (int64_t i = 0; i < kColumns; ++i) lse[i] = delta[i] = 0;
    float* other = staging + d;
    for (int64_t i = 0; i < count; ++i) {
      read_row<Lanes>(out, i, d, staging);
      read_row<Lanes>(grad_out, i, d, other);
      for (int64_t c = 0; c < d; ++c) delta[i] += staging[c] * other[c];
      lse[i] = in.lse[first + i];
    }
    for (int64_t i = 0; i < d_rows * kColumns; ++i) grad_q[i] = 0;
  }

  // p and ds of the keys [first, first + count).
  void recompute(int64_t first, int64_t count) {
    for (int64_t i = 0; i < count; i += R) {
      Tile<Op, N> tile;
      tile.clear();
      tile.template add_products<R, 1>(k_rows + (first + i) * d_words, q_columns, kColumns, d_words);
      tile.store(p + i * kColumns, kColumns);
      tile.clear();
      tile.template add_products<R, 1>(v_rows + (first + i) * d_words, o_columns, kColumns, d_words);
      tile.store(ds + i * kColumns, kColumns);
    }
    const Lanes factor = Lanes::all(in.scale * kLog2E), zero = Lanes::all(0);
    for (int64_t j = 0; j < kColumns; j += W) {
      const Lanes shift = zero - Lanes::load(lse + j), mean = Lanes::load(delta + j);
      const auto probability = [&](int64_t i) { return exp2(fma(Lanes::load(p + i * kColumns + j), factor, shift)); };
      const auto gradient = [&](int64_t i, Lanes weight) { return weight * (Lanes::load(ds + i * kColumns + j) - mean); };
      // Words along the queries take the place of what was read, in the first part of the row.
      const auto store = [&](Lanes value, float* row) { Op::store_words(value, row + j / kPacked); };
      for (int64_t i = 0; i < count; i += kPacked) {
        const Lanes weight = probability(i), slope = gradient(i, weight);
        store(weight, p + i * kColumns);
        store(slope, ds + i * kColumns);
        if constexpr (kPacked == 2) {
          Lanes next = zero;
          if (i + 1 < count) {
            const Lanes next_weight = probability(i + 1);
            next = gradient(i + 1, next_weight);
            store(next_weight, p + (i + 1) * kColumns);
            store(next, ds + (i + 1) * kColumns);
          }
          Op::join(slope, next).store(ds_joined + i / 2 * kColumns + j);
        }
      }
    }
  }

  // sums [R, d_lanes] += weights^T rows; M vectors from column c on.
  template <int M>
  void add_rows(const float* weights, const float* rows, int64_t queries, int64_t c, float* sums) {
    Tile<Op, M> tile;
    tile.load(sums + c, d_lanes);
    tile.template add_products<1, kColumns>(weights, rows + c, d_lanes, words_of<Op>(queries));
    tile.store(sums + c, d_lanes);
  }

  // sums [keys, d_lanes] += weights [keys, kColumns] rows [kColumns, d_lanes]
  void add_key_gradient(const float* weights, const float* rows, int64_t queries, int64_t count, float* sums) {
    for (int64_t i = 0; i < count; i += R, weights += R * kColumns, sums += R * d_lanes)
      for (int64_t c = 0; c < d_lanes;) {
        const int64_t vectors = (d_lanes - c) / W;
        if (vectors == 1) add_rows<1>(weights, rows, queries, c, sums), c += W;
        else if (vectors == 2 || vectors == 4) add_rows<2>(weights, rows, queries, c, sums), c += 2 * W;
        else add_rows<3>(weights, rows, queries, c, sums), c += 3 * W;
      }
  }

  void add_query_gradient(int64_t first, int64_t count) {
    const float* k = k_columns + first / kPacked * R;
    for (int64_t c = 0; c < d_rows; c += R, k += key_words * R) {
      Tile<Op, N> tile;
      tile.load(grad_q + c * kColumns, kColumns);
      tile.template add_products<R, 1>(k, ds_joined, kColumns, words_of<Op>(count));
      tile.store(grad_q + c * kColumns, kColumns);
    }
  }

  void run() {
    pack_keys();
    for (int64_t i = 0; i < in.queries; i += kColumns) {
      const int64_t queries = in.queries - i < kColumns ? in.queries - i : kColumns;
      read_queries(i, queries);
      for (int64_t first = 0; first < in.head.keys; first += kGradientKeyBlock) {
        const int64_t count = in.head.keys - first < kGradientKeyBlock ? in.head.keys - first : kGradientKeyBlock;
        recompute(first, count);
        if (in.grad_k.data != nullptr) {
          add_key_gradient(p, o_lanes, queries, count, grad_v + first * d_lanes);
          add_key_gradient(ds, q_lanes, queries, count, grad_k + first * d_lanes);
        }
        if (in.grad_q.data != nullptr) add_query_gradient(first, count);
      }
      if (in.grad_q.data == nullptr) continue;
      for (int64_t j = 0; j < kColumns; ++j) lse[j] = in.scale;
      transpose_out<Lanes>(grad_q, lse, queries, d, kColumns, staging, from_row(in.grad_q, i));
    }
    if (in.grad_k.data == nullptr) return;
    for (int64_t i = 0; i < keys * d_lanes; ++i) grad_k[i] *= in.scale;
    for (int64_t i = 0; i < in.head.keys; ++i) {
      write_row<Lanes>(grad_k + i * d_lanes, d, in.grad_k, i);
      write_row<Lanes>(grad_v + i * d_lanes, d, in.grad_v, i);
    }
  }
};

template <typename Op>
int64_t attention_gradient_scratch(int64_t keys, int64_t d) {
  return Gradient<Op, Op::kVectors>::scratch_size(keys, d);
}

template <typename Op>
void attention_backward(const AttentionGradient& gradient, float* scratch) {
  static_assert(kGradientKeyBlock % Op::kRows == 0 && kGradientKeyBlock % Op::kPacked == 0);
  Gradient<Op, Op::kVectors>(gradient, scratch).run();
}

}  // namespace

}  // namespace seedbed::nn
