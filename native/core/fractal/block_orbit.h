#pragma once

// Orbits by a block of threads, a chunk of the steps each. Written once: `Block` runs a phase on all threads and waits
// for them, on the GPU or in a loop. Products and sums are fused by name, so both round alike.

#include <cmath>

#include "fractal/block_device.h"
#include "tensor/device_code.h"

namespace seedbed::fractal {

// v -> (a b; c d) v + (e, f)
struct BlockMap {
  float a, b, e, c, d, f;
};

// What the threads of a block share.
struct BoundsMemory {
  OrbitTables tables;
  BlockMap maps[2][kBlockThreads];
  OrbitBounds bounds[kBlockThreads];
};

SEEDBED_DEVICE inline BlockMap map_of(const OrbitTables& t, uint32_t k) { return {t.a[k], t.b[k], t.e[k], t.c[k], t.d[k], t.f[k]}; }

SEEDBED_DEVICE inline Point apply(const BlockMap& m, Point v) { return {std::fma(m.a, v.x, std::fma(m.b, v.y, m.e)), std::fma(m.c, v.x, std::fma(m.d, v.y, m.f))}; }

// v -> l(r(v))
SEEDBED_DEVICE inline BlockMap compose(const BlockMap& l, const BlockMap& r) {
  const Point moved = apply(l, {r.e, r.f});
  return {std::fma(l.a, r.a, l.b * r.c), std::fma(l.a, r.b, l.b * r.d), moved.x, std::fma(l.c, r.a, l.d * r.c), std::fma(l.c, r.b, l.d * r.d), moved.y};
}

// Calls visit(k) for each step k of the thread's chunk that leads away from a point.
template <typename Visit>
SEEDBED_DEVICE void for_each_step(const BlockSteps& steps, int thread, Visit visit) {
  const int32_t per_word = 32 / steps.bits, chunk = steps.rows * per_word;
  const uint32_t mask = (1U << steps.bits) - 1;
  int32_t left = steps.points - thread * chunk;
  for (int32_t row = 0; row < steps.rows && left > 0; ++row, left -= per_word) {
    uint32_t word = steps.words[static_cast<int64_t>(row) * kBlockThreads + thread];
    const int32_t here = left < per_word ? left : per_word;
    for (int32_t i = 0; i < here; ++i, word >>= steps.bits) visit(word & mask);
  }
}

// Calls visit(point) for each point of the thread's chunk, which begins at `v`; returns the point behind it.
template <typename Visit>
SEEDBED_DEVICE Point walk(const OrbitTables& tables, const BlockSteps& steps, int thread, Point v, Visit visit) {
  for_each_step(steps, thread, [&](uint32_t k) {
    visit(v);
    v = apply(map_of(tables, k), v);
  });
  return v;
}

SEEDBED_DEVICE inline BlockMap compose_chunk(const OrbitTables& tables, const BlockSteps& steps, int thread) {
  BlockMap all{1, 0, 0, 0, 1, 0};
  for_each_step(steps, thread, [&](uint32_t k) { all = compose(map_of(tables, k), all); });
  return all;
}

SEEDBED_DEVICE inline bool is_single(float v) { return std::fabs(v) < kSinglePrecision; }  // false for NaN

// A thread without points tells of the orbit's first one. The last point, too, must be usable: NaN gets lost in bounds, but not on the way.
SEEDBED_DEVICE inline OrbitBounds chunk_bounds(const OrbitTables& tables, const BlockSteps& steps, int thread, Point first, Point v) {
  OrbitBounds b{first.x, first.x, first.y, first.y, true};
  const Point last = walk(tables, steps, thread, v, [&](Point p) {
    b.low_x = std::fmin(b.low_x, p.x);
    b.high_x = std::fmax(b.high_x, p.x);
    b.low_y = std::fmin(b.low_y, p.y);
    b.high_y = std::fmax(b.high_y, p.y);
  });
  const bool empty = thread * steps.rows * (32 / steps.bits) >= steps.points;
  b.usable = empty || (is_single(b.low_x) && is_single(b.high_x) && is_single(b.low_y) && is_single(b.high_y) && is_single(last.x) && is_single(last.y));
  return b;
}

SEEDBED_DEVICE inline OrbitBounds join(const OrbitBounds& l, const OrbitBounds& r) {
  return {std::fmin(l.low_x, r.low_x), std::fmax(l.high_x, r.high_x), std::fmin(l.low_y, r.low_y), std::fmax(l.high_y, r.high_y), l.usable && r.usable};
}

// Brings the maps of an orbit into the block's own memory.
template <typename Block>
SEEDBED_DEVICE void load_tables(const Block& block, const OrbitTables& from, OrbitTables& to) {
  block.each([&](int t) {
    if (t >= 16) return;
    to.a[t] = from.a[t];
    to.b[t] = from.b[t];
    to.e[t] = from.e[t];
    to.c[t] = from.c[t];
    to.d[t] = from.d[t];
    to.f[t] = from.f[t];
  });
}

// The bounds of an orbit, and where each thread's chunk begins: the maps of all chunks before it, composed by a parallel
// prefix scan (Hillis & Steele 1986), applied to the first point. `starts` [kBlockThreads].
template <typename Block>
SEEDBED_DEVICE void find_orbit_bounds(const Block& block, const Orbit& orbit, const BlockSteps& steps, BoundsMemory& m, Point* starts, OrbitBounds& out) {
  load_tables(block, orbit.tables, m.tables);
  block.each([&](int t) { m.maps[0][t] = compose_chunk(m.tables, steps, t); });
  int now = 0;
  for (int reach = 1; reach < kBlockThreads; reach *= 2, now ^= 1)
    block.each([&](int t) { m.maps[now ^ 1][t] = t < reach ? m.maps[now][t] : compose(m.maps[now][t], m.maps[now][t - reach]); });
  block.each([&](int t) {
    starts[t] = t == 0 ? orbit.start : apply(m.maps[now][t - 1], orbit.start);
    m.bounds[t] = chunk_bounds(m.tables, steps, t, orbit.start, starts[t]);
  });
  for (int half = kBlockThreads / 2; half > 0; half /= 2)
    block.each([&](int t) {
      if (t < half) m.bounds[t] = join(m.bounds[t], m.bounds[t + half]);
    });
  block.each([&](int t) {
    if (t == 0) out = m.bounds[0];
  });
}

}  // namespace seedbed::fractal
