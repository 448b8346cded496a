#include "fractal/orbit_kernel.h"

namespace seedbed::fractal {

namespace {

struct Portable {
  float v[16];

  using Table = const float*;
  using Index = const uint8_t*;

  static Portable load(const float* p) {
    Portable r;
    for (int i = 0; i < 16; ++i) r.v[i] = p[i];
    return r;
  }
  static Portable all(float value) {
    Portable r;
    for (float& lane : r.v) lane = value;
    return r;
  }
  static Table table(const float* p) { return p; }
  static Index index(const uint8_t* p) { return p; }
  static Portable select(Table table, Index index) {
    Portable r;
    for (int i = 0; i < 16; ++i) r.v[i] = table[index[i]];
    return r;
  }
  static void store_pixels(const Portable& x, const Portable& y, int32_t stride, int32_t* pixels) {
    for (int i = 0; i < 16; ++i) pixels[i] = static_cast<int32_t>(y.v[i]) * stride + static_cast<int32_t>(x.v[i]);
  }
  void store(float* p) const {
    for (int i = 0; i < 16; ++i) p[i] = v[i];
  }
};

template <typename Op>
Portable zip(const Portable& l, const Portable& r, Op op) {
  Portable out;
  for (int i = 0; i < 16; ++i) out.v[i] = op(l.v[i], r.v[i]);
  return out;
}

Portable operator*(const Portable& l, const Portable& r) {
  return zip(l, r, [](float a, float b) { return a * b; });
}
Portable operator-(const Portable& l, const Portable& r) {
  return zip(l, r, [](float a, float b) { return a - b; });
}
Portable min(const Portable& l, const Portable& r) {
  return zip(l, r, [](float a, float b) { return a < b ? a : b; });
}
Portable max(const Portable& l, const Portable& r) {
  return zip(l, r, [](float a, float b) { return a > b ? a : b; });
}
Portable fma(const Portable& a, const Portable& b, const Portable& c) {
  Portable out;
  for (int i = 0; i < 16; ++i) out.v[i] = __builtin_fmaf(a.v[i], b.v[i], c.v[i]);
  return out;
}

}  // namespace

const OrbitKernel kOrbitPortable = make_orbit_kernel<Portable>("portable");

}  // namespace seedbed::fractal
