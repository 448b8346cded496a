#pragma once

// The vector code of the fast orbit, written once over a type `Lanes` of 16 floats and compiled once per instruction
// set. Nothing here may call inline library code: the linker could pick the copy that was compiled for AVX-512.

#include <cstdint>

namespace seedbed::fractal {

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

struct OrbitBox {
  alignas(64) float low_x[16], high_x[16], low_y[16], high_y[16];
  alignas(64) float last_x[16], last_y[16];
};

struct Quantiser {
  float low, scale, offset, largest;
};

struct OrbitKernel {
  const char* name;
  void (*compose)(const OrbitTables&, const Steps&, int64_t rows, ChunkMaps& out);
  // Starts lane c at (start_x[c], start_y[c]); writes xs, ys [chunk, 16]. Places past the last point repeat the first.
  void (*run)(const OrbitTables&, const Steps&, const float* start_x, const float* start_y, float* xs, float* ys, OrbitBox& out);
  // pixels[i] = int(min((y - low) * scale + offset, largest)) * stride + the same of x, for `count` (a multiple of 16).
  void (*quantise)(const float* xs, const float* ys, int64_t count, Quantiser x, Quantiser y, int32_t stride, int32_t* pixels);
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

// Moves lanes that are past the last point back to the first one.
inline void repeat_first_point(const Steps& steps, int64_t t, float first_x, float first_y, float* xs, float* ys) {
  for (int lane = 0; lane < 16; ++lane)
    if (lane * steps.chunk + t >= steps.points) {
      xs[lane] = first_x;
      ys[lane] = first_y;
    }
}

template <typename Lanes>
void run_orbit(const OrbitTables& tables, const Steps& steps, const float* start_x, const float* start_y, float* xs, float* ys, OrbitBox& out) {
  const Coefficients<Lanes> m(tables);
  Lanes x = Lanes::load(start_x), y = Lanes::load(start_y);
  Lanes low_x = Lanes::all(start_x[0]), high_x = low_x, low_y = Lanes::all(start_y[0]), high_y = low_y;
  const int64_t full_rows = steps.chunk - (steps.chunk * 16 - steps.points);  // rows in which every lane has a point
  for (int64_t t = 0; t < steps.chunk; ++t) {
    x.store(xs + t * 16);
    y.store(ys + t * 16);
    if (t >= full_rows) repeat_first_point(steps, t, start_x[0], start_y[0], xs + t * 16, ys + t * 16);
    const Lanes seen_x = t >= full_rows ? Lanes::load(xs + t * 16) : x, seen_y = t >= full_rows ? Lanes::load(ys + t * 16) : y;
    low_x = min(low_x, seen_x);
    high_x = max(high_x, seen_x);
    low_y = min(low_y, seen_y);
    high_y = max(high_y, seen_y);
    const auto k = Lanes::index(steps.interleaved + t * 16);
    const Lanes next_x = fma(Lanes::select(m.a, k), x, fma(Lanes::select(m.b, k), y, Lanes::select(m.e, k)));
    y = fma(Lanes::select(m.c, k), x, fma(Lanes::select(m.d, k), y, Lanes::select(m.f, k)));
    x = next_x;
  }
  low_x.store(out.low_x);
  high_x.store(out.high_x);
  low_y.store(out.low_y);
  high_y.store(out.high_y);
  x.store(out.last_x);
  y.store(out.last_y);
}

template <typename Lanes>
void quantise_points(const float* xs, const float* ys, int64_t count, Quantiser qx, Quantiser qy, int32_t stride, int32_t* pixels) {
  const auto place = [](Lanes v, const Quantiser& q) {
    return min(fma(v - Lanes::all(q.low), Lanes::all(q.scale), Lanes::all(q.offset)), Lanes::all(q.largest));
  };
  for (int64_t i = 0; i < count; i += 16)
    Lanes::store_pixels(place(Lanes::load(xs + i), qx), place(Lanes::load(ys + i), qy), stride, pixels + i);
}

template <typename Lanes>
constexpr OrbitKernel make_orbit_kernel(const char* name) {
  return {name, compose_chunks<Lanes>, run_orbit<Lanes>, quantise_points<Lanes>};
}

}  // namespace

}  // namespace seedbed::fractal
