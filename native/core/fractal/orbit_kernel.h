#pragma once

// The vector code of the fast orbit, written once over a type `Lanes` of 16 floats and compiled once per instruction
// set. Nothing here may call inline library code: the linker could pick the copy that was compiled for AVX-512.

#include <cstdint>

namespace seedbed::fractal {

inline constexpr float kSinglePrecision = 1e15F;  // orbits beyond this go to the exact path

// Plain data in and out of a kernel. Tables hold one coefficient of all maps, padded to 16.
struct OrbitTables {
  alignas(64) float a[16], b[16], e[16], c[16], d[16], f[16];
};

struct Steps {
  const uint8_t* interleaved;  // [chunk, 16]
  int64_t chunk;
  int64_t points;
};

// Per lane, the affine map of the last `rows` steps of its chunk: v -> (a b; c d) v + (e, f).
struct ChunkMaps {
  alignas(64) float a[16], b[16], e[16], c[16], d[16], f[16];
};

struct Starts {
  alignas(64) float x[16], y[16];  // where each chunk begins
};

struct OrbitBox {
  alignas(64) float low_x[16], high_x[16], low_y[16], high_y[16];
  alignas(64) float last_x[16], last_y[16];
};

struct Quantiser {
  float low, scale, offset, largest;
};

// pixel = int(min((y - low) * scale + offset, largest)) * stride + the same of x.
struct PixelMap {
  Quantiser x, y;
  int32_t stride;
};

struct OrbitKernel {
  const char* name;
  void (*compose)(const OrbitTables&, const Steps&, int64_t rows, ChunkMaps& out);
  // The orbit is run twice, which is cheaper than to store it: once for its bounds, once for its pixels [chunk, 16].
  // Places past the last point repeat the first point.
  void (*bounds)(const OrbitTables&, const Steps&, const Starts&, OrbitBox& out);
  void (*pixels)(const OrbitTables&, const Steps&, const Starts&, const PixelMap&, int32_t* out);
};

extern const OrbitKernel kOrbitPortable;
extern const OrbitKernel kOrbitAvx2;
extern const OrbitKernel kOrbitAvx512;

namespace {

template <typename Lanes>
struct Coefficients {
  typename Lanes::Table a, b, e, c, d, f;

  explicit Coefficients(const OrbitTables& t)
      : a(Lanes::table(t.a)), b(Lanes::table(t.b)), e(Lanes::table(t.e)), c(Lanes::table(t.c)), d(Lanes::table(t.d)), f(Lanes::table(t.f)) {}
};

template <typename Lanes>
void compose_chunks(const OrbitTables& tables, const Steps& steps, int64_t rows, ChunkMaps& out) {
  const Coefficients<Lanes> m(tables);
  Lanes a = Lanes::all(1), b = Lanes::all(0), e = Lanes::all(0), c = Lanes::all(0), d = Lanes::all(1), f = Lanes::all(0);
  for (int64_t t = steps.chunk - rows; t < steps.chunk; ++t) {
    const auto k = Lanes::index(steps.interleaved + t * 16);
    const Lanes ka = Lanes::select(m.a, k), kb = Lanes::select(m.b, k), kc = Lanes::select(m.c, k), kd = Lanes::select(m.d, k);
    const Lanes next_a = fma(ka, a, kb * c), next_b = fma(ka, b, kb * d), next_e = fma(ka, e, fma(kb, f, Lanes::select(m.e, k)));
    c = fma(kc, a, kd * c);
    d = fma(kc, b, kd * d);
    f = fma(kc, e, fma(kd, f, Lanes::select(m.f, k)));
    a = next_a;
    b = next_b;
    e = next_e;
  }
  a.store(out.a);
  b.store(out.b);
  e.store(out.e);
  c.store(out.c);
  d.store(out.d);
  f.store(out.f);
}

// One step of all chunks.
template <typename Lanes>
inline void advance(const Coefficients<Lanes>& m, const typename Lanes::Index& k, Lanes& x, Lanes& y) {
  const Lanes next_x = fma(Lanes::select(m.a, k), x, fma(Lanes::select(m.b, k), y, Lanes::select(m.e, k)));
  y = fma(Lanes::select(m.c, k), x, fma(Lanes::select(m.d, k), y, Lanes::select(m.f, k)));
  x = next_x;
}

// Rows in which every chunk has a point.
inline int64_t full_rows(const Steps& steps) {
  const int64_t rows = steps.points - steps.chunk * 15;
  return rows < 0 ? 0 : rows;
}

// Values of row t, with those past the last point replaced by `first`.
template <typename Lanes>
inline Lanes existing(const Steps& steps, int64_t t, const Lanes& values, float first) {
  alignas(64) float lanes[16];
  values.store(lanes);
  for (int lane = 0; lane < 16; ++lane)
    if (lane * steps.chunk + t >= steps.points) lanes[lane] = first;
  return Lanes::load(lanes);
}

template <typename Lanes>
void orbit_bounds(const OrbitTables& tables, const Steps& steps, const Starts& starts, OrbitBox& out) {
  const Coefficients<Lanes> m(tables);
  Lanes x = Lanes::load(starts.x), y = Lanes::load(starts.y);
  Lanes low_x = Lanes::all(starts.x[0]), high_x = low_x, low_y = Lanes::all(starts.y[0]), high_y = low_y;
  const int64_t full = full_rows(steps);
  for (int64_t t = 0; t < steps.chunk; ++t) {
    const Lanes seen_x = t < full ? x : existing(steps, t, x, starts.x[0]), seen_y = t < full ? y : existing(steps, t, y, starts.y[0]);
    low_x = min(low_x, seen_x);
    high_x = max(high_x, seen_x);
    low_y = min(low_y, seen_y);
    high_y = max(high_y, seen_y);
    advance(m, Lanes::index(steps.interleaved + t * 16), x, y);
  }
  low_x.store(out.low_x);
  high_x.store(out.high_x);
  low_y.store(out.low_y);
  high_y.store(out.high_y);
  x.store(out.last_x);
  y.store(out.last_y);
}

template <typename Lanes>
void orbit_pixels(const OrbitTables& tables, const Steps& steps, const Starts& starts, const PixelMap& map, int32_t* out) {
  const Coefficients<Lanes> m(tables);
  const auto place = [](const Lanes& v, const Quantiser& q) {
    return min(fma(v - Lanes::all(q.low), Lanes::all(q.scale), Lanes::all(q.offset)), Lanes::all(q.largest));
  };
  Lanes x = Lanes::load(starts.x), y = Lanes::load(starts.y);
  const int64_t full = full_rows(steps);
  for (int64_t t = 0; t < steps.chunk; ++t) {
    const Lanes seen_x = t < full ? x : existing(steps, t, x, starts.x[0]), seen_y = t < full ? y : existing(steps, t, y, starts.y[0]);
    Lanes::store_pixels(place(seen_x, map.x), place(seen_y, map.y), map.stride, out + t * 16);
    advance(m, Lanes::index(steps.interleaved + t * 16), x, y);
  }
}

template <typename Lanes>
constexpr OrbitKernel make_orbit_kernel(const char* name) {
  return {name, compose_chunks<Lanes>, orbit_bounds<Lanes>, orbit_pixels<Lanes>};
}

}  // namespace

}  // namespace seedbed::fractal
