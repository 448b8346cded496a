#pragma once

// Loops of the fused element-wise operations: rows in, rows out, float32 inside. See lanes.h for the rules.

#include "nn/kernels/lanes.h"

namespace seedbed::nn {

struct Moments {
  float mean, m2;  // m2: sum of squared distances from the mean
};

// Elements x -> y = (x - mean) * scale + shift, then silu if asked for. Contiguous rows of `channels`.
struct NormRows {
  const void* x;  // [rows, channels]
  void* y;
  Element element;
  int64_t rows, channels;
  const float *mean, *scale, *shift;  // [channels]
  bool silu;
};

// For z = (x - mean) * scale + shift, y = z or silu(z), and the gradient dz of z from that of y.
struct NormGradient {
  const void* x;        // [rows, channels]
  const void* grad;     // of y
  Element element;
  int64_t rows, channels;
  const float *mean, *scale, *shift;  // [channels]
  bool silu;
};

// Gradient of x: dz * scale + (x - mean) * slope + offset, by channel.
struct NormGradientParts {
  const float *slope, *offset;  // [channels]
  void* out;                    // [rows, channels]
};

struct FusedKernel {
  const char* name;
  // Of the rows [rows, channels], a group being channels / groups neighbours. `work` holds 2 * channels floats.
  void (*row_moments)(const void* x, Element element, int64_t rows, int64_t channels, int64_t groups, float* work, Moments* out);
  Moments (*run_moments)(const void* x, Element element, int64_t count);
  void (*normalise_rows)(const NormRows&);
  // All `count` elements with the same mean[0], scale[0] and shift[0].
  void (*normalise_run)(const NormRows&, int64_t count);
  // Sums over rows of dz and of dz * (x - mean), [channels] each.
  void (*norm_sums)(const NormGradient&, float* sums, float* products);
  void (*norm_gradient)(const NormGradient&, const NormGradientParts&);
  void (*geglu)(const void* x, void* y, Element element, int64_t rows, int64_t width);  // [rows, 2 * width] -> [rows, width]
  // Gradient of x [rows, 2 * width] from that of y [rows, width].
  void (*geglu_gradient)(const void* x, const void* grad, void* out, Element element, int64_t rows, int64_t width);
  // float32 to bfloat16, to nearest, ties to even, and back; to the latter `added` is added where it is not null.
  void (*narrow)(const float* x, uint16_t* y, int64_t count);
  void (*widen)(const uint16_t* x, const float* added, float* y, int64_t count);
};

extern const FusedKernel kFusedPortable;
extern const FusedKernel kFusedAvx2;
extern const FusedKernel kFusedAvx512;

namespace {

// log2 of the normal distribution's tail at a >= 0: a * 2^polynomial is within 4e-8 everywhere (minimax on [0, 7]) and
// goes on falling beyond.
constexpr float kLog2Tail[] = {-0.9999999857805559F,     -1.1511049906411026F,    -0.4592152637602979F,    -0.052454111489674174F,
                               0.006959036303071627F,    -4.005048073458695e-06F, -0.00028046801121559147F, 7.733371420874062e-05F,
                               -1.1180763375505869e-05F, 8.785426267813399e-07F,  -2.9334724563511504e-08F};
constexpr float kNoTail = 12;  // the tail is nothing here
constexpr float kSteep = 1e30F;
constexpr float kDensity = 0.3989422804014327F;  // of the normal distribution at 0

// Calls body(i, load, store) for each vector of [0, count).
template <typename Lanes, typename Body>
void for_vectors(int64_t count, Body body) {
  int64_t i = 0;
  for (; i + Lanes::kWidth <= count; i += Lanes::kWidth)
    body([i](const auto* p) { return Lanes::load(p + i); }, [i](Lanes lanes, auto* p) { lanes.store(p + i); });
  if (const int64_t rest = count - i; rest > 0)
    body([i, rest](const auto* p) { return load_part<Lanes>(p + i, rest); }, [i, rest](Lanes lanes, auto* p) { store_part(lanes, p + i, rest); });
}

template <typename Lanes>
float add_up(Lanes lanes) {
  alignas(64) float parts[Lanes::kWidth];
  lanes.store(parts);
  for (int half = Lanes::kWidth / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) parts[i] += parts[i + half];
  return parts[0];
}

// x * 1 / (1 + e^-x); the exponent is held below 2^126, where the quotient is nothing.
template <typename Lanes>
Lanes silu(Lanes x) {
  const Lanes one = Lanes::all(1);
  return x / (one + exp2(Lanes::all(0) - max(Lanes::all(-126), x * Lanes::all(kLog2E))));
}

// x * Phi(x) = max(x, 0) - |x| * Phi(-|x|), without cancellation in the negative tail.
template <typename Lanes>
Lanes gelu(Lanes x) {
  const Lanes zero = Lanes::all(0), a = zero - max(Lanes::all(-kNoTail), zero - max(x, zero - x));
  Lanes exponent = Lanes::all(kLog2Tail[10]);
  for (int i = 9; i >= 0; --i) exponent = fma(exponent, a, Lanes::all(kLog2Tail[i]));
  return max(zero, x) - a * exp2(exponent);
}

// d silu(x) / dx = s + x s (1 - s), s the sigmoid.
template <typename Lanes>
Lanes silu_slope(Lanes x) {
  const Lanes one = Lanes::all(1), s = one / (one + exp2(Lanes::all(0) - max(Lanes::all(-126), x * Lanes::all(kLog2E))));
  return fma(x * s, one - s, s);
}

template <typename Lanes>
struct GeluParts {
  Lanes value, slope;
};

// gelu(x) and its slope Phi(x) + x phi(x).
template <typename Lanes>
GeluParts<Lanes> gelu_parts(Lanes x) {
  const Lanes zero = Lanes::all(0), one = Lanes::all(1), a = zero - max(Lanes::all(-kNoTail), zero - max(x, zero - x));
  Lanes exponent = Lanes::all(kLog2Tail[10]);
  for (int i = 9; i >= 0; --i) exponent = fma(exponent, a, Lanes::all(kLog2Tail[i]));
  const Lanes tail = exp2(exponent);                                                      // Phi(-|x|)
  const Lanes positive = one - max(zero, one - max(zero, x * Lanes::all(kSteep)));        // 1 above 0
  const Lanes density = exp2(a * a * Lanes::all(-0.5F * kLog2E)) * Lanes::all(kDensity);  // phi(x)
  return {max(zero, x) - a * tail, fma(x, density, fma(positive, one - tail - tail, tail))};
}

template <typename Lanes, typename T>
void row_moments_of(const T* x, int64_t rows, int64_t channels, int64_t groups, float* work, Moments* out) {
  const int64_t size = channels / groups;
  const float share = 1.0F / (static_cast<float>(rows) * static_cast<float>(size));
  float *centre = work, *sums = work + channels;
  const auto add_groups = [&](auto take) {
    for (int64_t g = 0; g < groups; ++g) {
      float sum = 0;
      for (int64_t c = g * size; c < (g + 1) * size; ++c) sum += sums[c];
      take(g, sum);
    }
  };
  const auto clear = [&] {
    for (int64_t c = 0; c < channels; ++c) sums[c] = 0;
  };
  clear();
  for (int64_t r = 0; r < rows; ++r)
    for_vectors<Lanes>(channels, [&, row = x + r * channels](auto load, auto store) { store(load(sums) + load(row), sums); });
  add_groups([&](int64_t g, float sum) {
    out[g].mean = sum * share;
    for (int64_t c = g * size; c < (g + 1) * size; ++c) centre[c] = out[g].mean;
  });
  clear();
  for (int64_t r = 0; r < rows; ++r)
    for_vectors<Lanes>(channels, [&, row = x + r * channels](auto load, auto store) {
      const Lanes distance = load(row) - load(centre);
      store(fma(distance, distance, load(sums)), sums);
    });
  add_groups([&](int64_t g, float sum) { out[g].m2 = sum; });
}

// The mean, then the squares around it: the run is read twice, from the first cache.
template <typename Lanes, typename T>
Moments run_moments_of(const T* x, int64_t count) {
  constexpr int64_t W = Lanes::kWidth;
  const int64_t full = count / (4 * W) * (4 * W);
  const auto sum_of = [&](auto term, auto scalar_term) {
    Lanes sums[4] = {Lanes::all(0), Lanes::all(0), Lanes::all(0), Lanes::all(0)};
    for (int64_t i = 0; i < full; i += 4 * W)
      for (int j = 0; j < 4; ++j) sums[j] = term(Lanes::load(x + i + j * W), sums[j]);
    float sum = add_up((sums[0] + sums[1]) + (sums[2] + sums[3]));
    for (int64_t i = full; i < count; ++i) sum += scalar_term(x[i]);
    return sum;
  };
  const auto number = [](T value) {
    if constexpr (sizeof(T) == sizeof(float)) return value;
    else return widen(value);
  };
  const float mean = sum_of([](Lanes v, Lanes sum) { return v + sum; }, number) / static_cast<float>(count);
  const Lanes centre = Lanes::all(mean);
  const auto square = [&](T value) { return (number(value) - mean) * (number(value) - mean); };
  return {mean, sum_of([&](Lanes v, Lanes sum) { return fma(v - centre, v - centre, sum); }, square)};
}

template <typename Lanes, bool Silu, typename T>
void normalise_rows_of(const NormRows& n) {
  const T* x = static_cast<const T*>(n.x);
  T* y = static_cast<T*>(n.y);
  for (int64_t r = 0; r < n.rows; ++r, x += n.channels, y += n.channels)
    for_vectors<Lanes>(n.channels, [&](auto load, auto store) {
      const Lanes normal = fma(load(x) - load(n.mean), load(n.scale), load(n.shift));
      if constexpr (Silu) store(silu(normal), y);
      else store(normal, y);
    });
}

template <typename Lanes, bool Silu, typename T>
void normalise_run_of(const NormRows& n, int64_t count) {
  const T* x = static_cast<const T*>(n.x);
  T* y = static_cast<T*>(n.y);
  const Lanes mean = Lanes::all(*n.mean), scale = Lanes::all(*n.scale), shift = Lanes::all(*n.shift);
  for_vectors<Lanes>(count, [&](auto load, auto store) {
    const Lanes normal = fma(load(x) - mean, scale, shift);
    if constexpr (Silu) store(silu(normal), y);
    else store(normal, y);
  });
}

template <typename Lanes, bool Silu, typename T>
void norm_sums_of(const NormGradient& n, float* sums, float* products) {
  const T *x = static_cast<const T*>(n.x), *grad = static_cast<const T*>(n.grad);
  for (int64_t c = 0; c < n.channels; ++c) sums[c] = products[c] = 0;
  for (int64_t r = 0; r < n.rows; ++r, x += n.channels, grad += n.channels)
    for_vectors<Lanes>(n.channels, [&](auto load, auto store) {
      const Lanes distance = load(x) - load(n.mean);
      Lanes dz = load(grad);
      if constexpr (Silu) dz = dz * silu_slope(fma(distance, load(n.scale), load(n.shift)));
      store(load(sums) + dz, sums);
      store(fma(dz, distance, load(products)), products);
    });
}

template <typename Lanes, bool Silu, typename T>
void norm_gradient_of(const NormGradient& n, const NormGradientParts& parts) {
  const T *x = static_cast<const T*>(n.x), *grad = static_cast<const T*>(n.grad);
  T* out = static_cast<T*>(parts.out);
  for (int64_t r = 0; r < n.rows; ++r, x += n.channels, grad += n.channels, out += n.channels)
    for_vectors<Lanes>(n.channels, [&](auto load, auto store) {
      const Lanes distance = load(x) - load(n.mean), scale = load(n.scale);
      Lanes dz = load(grad);
      if constexpr (Silu) dz = dz * silu_slope(fma(distance, scale, load(n.shift)));
      store(fma(dz, scale, fma(distance, load(parts.slope), load(parts.offset))), out);
    });
}

template <typename Lanes, typename T>
void geglu_gradient_of(const T* x, const T* grad, T* out, int64_t rows, int64_t width) {
  for (int64_t r = 0; r < rows; ++r, x += 2 * width, grad += width, out += 2 * width)
    for_vectors<Lanes>(width, [&](auto load, auto store) {
      const Lanes g = load(grad);
      const GeluParts<Lanes> gate = gelu_parts(load(x + width));
      const Lanes through_gate = g * load(x) * gate.slope;
      store(g * gate.value, out);
      store(through_gate, out + width);
    });
}

template <typename Lanes, typename T>
void geglu_of(const T* x, T* y, int64_t rows, int64_t width) {
  for (int64_t r = 0; r < rows; ++r, x += 2 * width, y += width)
    for_vectors<Lanes>(width, [&](auto load, auto store) { store(load(x) * gelu(load(x + width)), y); });
}

template <typename Lanes>
void narrow_all(const float* x, uint16_t* y, int64_t count) {
  for_vectors<Lanes>(count, [&](auto load, auto store) { store(load(x), y); });
}

template <typename Lanes>
void widen_all(const uint16_t* x, const float* added, float* y, int64_t count) {
  if (added == nullptr) return for_vectors<Lanes>(count, [&](auto load, auto store) { store(load(x), y); });
  for_vectors<Lanes>(count, [&](auto load, auto store) { store(load(added) + load(x), y); });
}

template <typename Lanes>
struct Fused {
  static void row_moments(const void* x, Element element, int64_t rows, int64_t channels, int64_t groups, float* work, Moments* out) {
    if (element == Element::float32) row_moments_of<Lanes>(static_cast<const float*>(x), rows, channels, groups, work, out);
    else row_moments_of<Lanes>(static_cast<const uint16_t*>(x), rows, channels, groups, work, out);
  }
  static Moments run_moments(const void* x, Element element, int64_t count) {
    if (element == Element::float32) return run_moments_of<Lanes>(static_cast<const float*>(x), count);
    return run_moments_of<Lanes>(static_cast<const uint16_t*>(x), count);
  }
  static void normalise_rows(const NormRows& n) {
    if (n.element == Element::float32) n.silu ? normalise_rows_of<Lanes, true, float>(n) : normalise_rows_of<Lanes, false, float>(n);
    else n.silu ? normalise_rows_of<Lanes, true, uint16_t>(n) : normalise_rows_of<Lanes, false, uint16_t>(n);
  }
  static void normalise_run(const NormRows& n, int64_t count) {
    if (n.element == Element::float32) n.silu ? normalise_run_of<Lanes, true, float>(n, count) : normalise_run_of<Lanes, false, float>(n, count);
    else n.silu ? normalise_run_of<Lanes, true, uint16_t>(n, count) : normalise_run_of<Lanes, false, uint16_t>(n, count);
  }
  static void norm_sums(const NormGradient& n, float* sums, float* products) {
    if (n.element == Element::float32) n.silu ? norm_sums_of<Lanes, true, float>(n, sums, products) : norm_sums_of<Lanes, false, float>(n, sums, products);
    else n.silu ? norm_sums_of<Lanes, true, uint16_t>(n, sums, products) : norm_sums_of<Lanes, false, uint16_t>(n, sums, products);
  }
  static void norm_gradient(const NormGradient& n, const NormGradientParts& parts) {
    if (n.element == Element::float32) n.silu ? norm_gradient_of<Lanes, true, float>(n, parts) : norm_gradient_of<Lanes, false, float>(n, parts);
    else n.silu ? norm_gradient_of<Lanes, true, uint16_t>(n, parts) : norm_gradient_of<Lanes, false, uint16_t>(n, parts);
  }
  static void geglu_gradient(const void* x, const void* grad, void* out, Element element, int64_t rows, int64_t width) {
    if (element == Element::float32) geglu_gradient_of<Lanes>(static_cast<const float*>(x), static_cast<const float*>(grad), static_cast<float*>(out), rows, width);
    else geglu_gradient_of<Lanes>(static_cast<const uint16_t*>(x), static_cast<const uint16_t*>(grad), static_cast<uint16_t*>(out), rows, width);
  }
  static void geglu(const void* x, void* y, Element element, int64_t rows, int64_t width) {
    if (element == Element::float32) geglu_of<Lanes>(static_cast<const float*>(x), static_cast<float*>(y), rows, width);
    else geglu_of<Lanes>(static_cast<const uint16_t*>(x), static_cast<uint16_t*>(y), rows, width);
  }
};

template <typename Lanes>
constexpr FusedKernel make_fused_kernel(const char* name) {
  using F = Fused<Lanes>;
  return {name, F::row_moments, F::run_moments, F::normalise_rows, F::normalise_run, F::norm_sums, F::norm_gradient, F::geglu, F::geglu_gradient, narrow_all<Lanes>, widen_all<Lanes>};
}

}  // namespace

}  // namespace seedbed::nn
