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

template <typename Lanes, int N>
struct Gradient {
  static constexpr int64_t W = Lanes::kWidth, R = Lanes::kRows, kColumns = N * W;
  const AttentionGradient& in;
  int64_t d, d_rows, d_lanes, keys;  // head size, and it padded to R and to W; keys padded to R

  // Of all the keys.
  float *k_rows, *v_rows;  // [keys / R, d, R]
  float* k_columns;        // [d_rows / R, head.keys, R]
  float *grad_k, *grad_v;  // [keys, d_lanes]
  // Of a block of queries, in columns and in rows.
  float *q_columns, *o_columns;  // [d, kColumns], q times scale * log2 e
  float *q_lanes, *o_lanes;      // [kColumns, d_lanes], q times scale
  float *lse, *delta;            // [kColumns]
  float* grad_q;                 // [d_rows, kColumns]
  float* staging;                // [kColumns, d_rows]
  // Of a block of queries and one of keys.
  float *p, *ds;  // [kGradientKeyBlock, kColumns]

  Gradient(const AttentionGradient& gradient, float* scratch)
      : in(gradient), d(gradient.head.d), d_rows(round_up(d, R)), d_lanes(round_up(d, W)), keys(round_up(gradient.head.keys, R)) {
    k_rows = take(scratch, keys * d);
    v_rows = take(scratch, keys * d);
    k_columns = take(scratch, in.head.keys * d_rows);
    grad_k = take(scratch, keys * d_lanes);
    grad_v = take(scratch, keys * d_lanes);
    q_columns = take(scratch, d * kColumns);
    o_columns = take(scratch, d * kColumns);
    q_lanes = take(scratch, d_lanes * kColumns);
    o_lanes = take(scratch, d_lanes * kColumns);
    lse = take(scratch, kColumns);
    delta = take(scratch, kColumns);
    grad_q = take(scratch, d_rows * kColumns);
    staging = take(scratch, d_rows * kColumns);
    p = take(scratch, kGradientKeyBlock * kColumns);
    ds = take(scratch, kGradientKeyBlock * kColumns);
  }

  static int64_t scratch_size(int64_t keys, int64_t d) {
    const int64_t most = round_up(d, R) + W, padded = keys + R;
    return padded * (2 * d + 3 * most) + kColumns * (7 * most + 2 + 2 * kGradientKeyBlock) + 15 * 16;
  }

  void pack_keys() {
    pack_by_row<Lanes>(in.head.k, in.head.keys, d, staging, k_rows);
    pack_by_row<Lanes>(in.head.v, in.head.keys, d, staging, v_rows);
    pack_by_column<Lanes>(in.head.k, in.head.keys, d, staging, k_columns);
    for (int64_t i = 0; i < keys * d_lanes; ++i) grad_k[i] = grad_v[i] = 0;
  }

  static Rows from_row(const Rows& rows, int64_t first) {
    const int64_t size = rows.element == Element::float32 ? 4 : 2;
    return {static_cast<char*>(rows.data) + first * rows.stride * size, rows.stride, rows.element};
  }

  void read_lanes(const Rows& rows, int64_t count, float scale, float* out) {
    for (int64_t i = 0; i < count; ++i) {
      read_row<Lanes>(rows, i, d, scale, out + i * d_lanes);
      for (int64_t c = d; c < d_lanes; ++c) out[i * d_lanes + c] = 0;
    }
  }

  void read_queries(int64_t first, int64_t count) {
    const Rows q = from_row(in.q, first), grad_out = from_row(in.grad_out, first), out = from_row(in.out, first);
    transpose_in<Lanes>(q, count, d, kColumns, in.scale * kLog2E, staging, q_columns);
    transpose_in<Lanes>(grad_out, count, d, kColumns, 1, staging, o_columns);
    read_lanes(q, count, in.scale, q_lanes);
    read_lanes(grad_out, count, 1, o_lanes);
    for (int64_t i = 0; i < kColumns; ++i) lse[i] = delta[i] = 0;
    for (int64_t i = 0; i < count; ++i) {
      read_row<Lanes>(out, i, d, 1, staging);
      for (int64_t c = 0; c < d; ++c) delta[i] += staging[c] * o_lanes[i * d_lanes + c];
      lse[i] = in.lse[first + i];
    }
    for (int64_t i = 0; i < d_rows * kColumns; ++i) grad_q[i] = 0;
  }

  // p and ds of the keys [first, first + count).
  void recompute(int64_t first, int64_t count) {
    for (int64_t i = 0; i < count; i += R) {
      float *p_place = p + i * kColumns, *ds_place = ds + i * kColumns;
      Tile<Lanes, N> tile;
      tile.clear();
      tile.template add_products<R, 1>(k_rows + (first + i) * d, q_columns, kColumns, d);
      tile.store(p_place, kColumns);
      tile.clear();
      tile.template add_products<R, 1>(v_rows + (first + i) * d, o_columns, kColumns, d);
      tile.store(ds_place, kColumns);
    }
    for (int64_t j = 0; j < kColumns; j += W) {
      const Lanes shift = Lanes::load(lse + j), mean = Lanes::load(delta + j);
      for (int64_t i = 0; i < count; ++i) {
        float *p_place = p + i * kColumns + j, *ds_place = ds + i * kColumns + j;
        const Lanes probability = exp2(Lanes::load(p_place) - shift);
        probability.store(p_place);
        (probability * (Lanes::load(ds_place) - mean)).store(ds_place);
      }
    }
  }

  // sums [R, d_lanes] += weights^T rows; M vectors from column c on.
  template <int M>
  void add_rows(const float* weights, const float* rows, int64_t queries, int64_t c, float* sums) {
    Tile<Lanes, M> tile;
    tile.load(sums + c, d_lanes);
    tile.template add_products<1, kColumns>(weights, rows + c, d_lanes, queries);
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
    const float* k = k_columns + first * R;
    for (int64_t c = 0; c < d_rows; c += R, k += in.head.keys * R) {
      Tile<Lanes, N> tile;
      tile.load(grad_q + c * kColumns, kColumns);
      tile.template add_products<R, 1>(k, ds, kColumns, count);
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
    for (int64_t i = 0; i < in.head.keys; ++i) {
      write_row<Lanes>(grad_k + i * d_lanes, d, in.grad_k, i);
      write_row<Lanes>(grad_v + i * d_lanes, d, in.grad_v, i);
    }
  }
};

template <typename Lanes>
int64_t attention_gradient_scratch(int64_t keys, int64_t d) {
  return Gradient<Lanes, Lanes::kVectors>::scratch_size(keys, d);
}

template <typename Lanes>
void attention_backward(const AttentionGradient& gradient, float* scratch) {
  Gradient<Lanes, Lanes::kVectors>(gradient, scratch).run();
}

}  // namespace

}  // namespace seedbed::nn
