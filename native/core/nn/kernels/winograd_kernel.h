#pragma once

// Winograd's minimal filtering F(4 x 4, 3 x 3) of one tile: Y = A^T [(G g G^T) . (B^T d B)] A for an input tile d [6, 6], a
// filter g [3, 3] and an output tile Y [4, 4] (Lavin & Gray, arXiv 1509.09308, eq. 8). Summed over channels, the products at
// each of the 36 places are one matrix product over all tiles. See lanes.h for the rules.
// The interpolation points are 0, +-sqrt(1/2), +-sqrt(2) and infinity: of the sets that need as few operations it has the
// smallest rounding error, a fifth of that of 0, +-1, +-2.

#include "nn/kernels/lanes.h"

namespace seedbed::nn {

// Products of one block of tiles, of up to kWinogradBlock input channels with up to kWinogradBlock output channels.
struct WinogradProduct {
  const float* inputs;   // 36 x [tiles, kWinogradBlock], transformed
  const float* weights;  // 36 x [channels, kWinogradBlock], transformed
  float* sums;           // 36 x [tiles, kWinogradBlock]
  int64_t tiles, channels, columns;
  bool first;  // sets the sums instead of adding to them
};

// One tile of the result.
struct WinogradOutput {
  const float* sums;  // the tile's row of the first of 36 matrices
  int64_t stride;     // from matrix to matrix
  const float* bias;  // [channels], padded to a vector
  const float* residual;  // as `out`; may be null
  float* out;
  int64_t line, pixel;  // strides
  int64_t lines, pixels, channels;  // of the tile that lie in the image, at most 4, 4 and kWinogradBlock
};

// Gradient of the filters of one block of input channels and one of output channels: products of both sides' transforms, summed over tiles.
struct WinogradFilterSums {
  const float* inputs;   // 36 x [tiles, kWinogradBlock], transformed
  const float* outputs;  // 36 x [tiles, kWinogradBlock], gradients of the outputs, transformed
  float* sums;           // 36 x [kWinogradBlock, kWinogradBlock], input by output channels
  int64_t tiles, channels, columns;  // channels, columns: of the inputs and of the outputs
};

struct WinogradKernel {
  const char* name;
  int64_t rows;     // tiles that one product in registers takes
  int64_t columns;  // a product's output channels are a multiple of this; divides kWinogradBlock
  // The tile's 36 pixels, each [channels] -> its row of 36 matrices per block of channels.
  void (*input)(const float* const* pixels, int64_t channels, float* out, int64_t stride);
  void (*weights)(const float* packed, int64_t channels, int64_t columns, float* out);  // [channels, 9, kWinogradBlock] -> 36 x [kWinogradBlock, kWinogradBlock]
  void (*multiply)(const WinogradProduct&);
  void (*output)(const WinogradOutput&);
  // For the gradient of the filters G^T [sum over tiles (B^T d B) . (A Y A^T)] G, Y now being the gradient of an output tile. The tile's 16 pixels,
  // each [channels] -> its row of 36 matrices per block of channels.
  void (*output_gradient)(const float* const* pixels, int64_t channels, float* out, int64_t stride);
  void (*add_filter_sums)(const WinogradFilterSums&);
  void (*filter_gradient)(const float* sums, int64_t channels, int64_t columns, float* out);  // 36 x [kWinogradBlock, kWinogradBlock] -> 9 x the same
};

extern const WinogradKernel kWinogradPortable;
extern const WinogradKernel kWinogradAvx2;
extern const WinogradKernel kWinogradAvx512;

namespace {

constexpr int64_t kWinogradBlock = 64;   // channels
constexpr int64_t kWinogradPlaces = 36;  // of a transformed tile
constexpr int kLine = 16;                // floats of a line of the caches
constexpr int64_t kWinogradTile = 4;     // pixels of a side of the result's tile

// Floats from one of the 36 matrices of [rows, kWinogradBlock] to the next. The padding spreads the 36 rows of a tile over
// the sets of the first cache.
[[maybe_unused]] constexpr int64_t winograd_stride(int64_t rows) { return rows * kWinogradBlock + 16; }

constexpr float kA = 0.70710678118654752F, kB = 1.41421356237309505F;  // the points; kA kB = 1

// A row of B^T x.
template <typename Lanes>
void transform_input_line(const Lanes (&x)[6], Lanes (&out)[6]) {
  const Lanes half = Lanes::all(-0.5F), two = Lanes::all(-2), sum = Lanes::all(-2.5F);  // of the squares of the points
  const Lanes even_a = fma(two, x[2], x[4]), odd_a = fma(two, x[1], x[3]);
  const Lanes even_b = fma(half, x[2], x[4]), odd_b = fma(half, x[1], x[3]);
  out[0] = fma(sum, x[2], x[0] + x[4]);
  out[1] = fma(Lanes::all(kA), odd_a, even_a);
  out[2] = fma(Lanes::all(-kA), odd_a, even_a);
  out[3] = fma(Lanes::all(kB), odd_b, even_b);
  out[4] = fma(Lanes::all(-kB), odd_b, even_b);
  out[5] = fma(sum, x[3], x[1] + x[5]);
}

// A row of G g.
template <typename Lanes>
void transform_weight_line(const Lanes (&g)[3], Lanes (&out)[6]) {
  const Lanes even_a = fma(Lanes::all(-1.0F / 3), g[2], Lanes::all(-2.0F / 3) * g[0]);
  const Lanes even_b = fma(Lanes::all(1.0F / 3), g[2], Lanes::all(1.0F / 6) * g[0]);
  out[0] = g[0];
  out[1] = fma(Lanes::all(-2 * kA / 3), g[1], even_a);
  out[2] = fma(Lanes::all(2 * kA / 3), g[1], even_a);
  out[3] = fma(Lanes::all(kB / 6), g[1], even_b);
  out[4] = fma(Lanes::all(-kB / 6), g[1], even_b);
  out[5] = g[2];
}

// A row of A^T m.
template <typename Lanes>
void transform_output_line(const Lanes (&m)[6], Lanes (&out)[4]) {
  const Lanes sum_a = m[1] + m[2], odd_a = m[1] - m[2], sum_b = m[3] + m[4], odd_b = m[3] - m[4];
  out[0] = (m[0] + sum_a) + sum_b;
  out[1] = fma(Lanes::all(kB), odd_b, Lanes::all(kA) * odd_a);
  out[2] = fma(Lanes::all(2), sum_b, Lanes::all(0.5F) * sum_a);
  out[3] = fma(Lanes::all(2 * kB), odd_b, fma(Lanes::all(kA / 2), odd_a, m[5]));
}

// A row of A y.
template <typename Lanes>
void transform_output_gradient_line(const Lanes (&y)[4], Lanes (&out)[6]) {
  const Lanes even_a = fma(Lanes::all(0.5F), y[2], y[0]), odd_a = fma(Lanes::all(kA / 2), y[3], Lanes::all(kA) * y[1]);
  const Lanes even_b = fma(Lanes::all(2), y[2], y[0]), odd_b = fma(Lanes::all(2 * kB), y[3], Lanes::all(kB) * y[1]);
  out[0] = y[0];
  out[1] = even_a + odd_a;
  out[2] = even_a - odd_a;
  out[3] = even_b + odd_b;
  out[4] = even_b - odd_b;
  out[5] = y[3];
}

// A row of G^T u.
template <typename Lanes>
void transform_filter_gradient_line(const Lanes (&u)[6], Lanes (&out)[3]) {
  const Lanes sum_a = u[1] + u[2], odd_a = u[1] - u[2], sum_b = u[3] + u[4], odd_b = u[3] - u[4];
  out[0] = fma(Lanes::all(1.0F / 6), sum_b, fma(Lanes::all(-2.0F / 3), sum_a, u[0]));
  out[1] = fma(Lanes::all(kB / 6), odd_b, Lanes::all(-2 * kA / 3) * odd_a);
  out[2] = fma(Lanes::all(1.0F / 3), sum_b - sum_a, u[5]);
}

template <typename Lanes>
struct Winograd {
  static constexpr int W = Lanes::kWidth;
  static constexpr int R = 6, N = W == 16 ? 4 : 2, Half = 2;  // a product in registers: R tiles, N or Half vectors of output channels

  // A line's transform along both sides: load(i * In + j) of a square of In -> Out squared vectors, `stride` apart.
  template <int In, int Out, typename Line, typename Load>
  static void transform_square(float* out, int64_t stride, Line line, Load load) {
    Lanes columns[In][Out];  // [pixel, place along the lines]
#pragma GCC unroll 6
    for (int j = 0; j < In; ++j) {
      Lanes x[In];
#pragma GCC unroll 6
      for (int i = 0; i < In; ++i) x[i] = load(i * In + j);
      line(x, columns[j]);
    }
#pragma GCC unroll 6
    for (int i = 0; i < Out; ++i) {
      Lanes x[In], y[Out];
#pragma GCC unroll 6
      for (int j = 0; j < In; ++j) x[j] = columns[j][i];
      line(x, y);
#pragma GCC unroll 6
      for (int j = 0; j < Out; ++j) y[j].store(out + (i * Out + j) * stride);
    }
  }

  // Of In squared pixels, each [channels], to 36 matrices per block of channels.
  template <int In, typename Line>
  static void transform_pixels(const float* const* pixels, int64_t channels, float* out, int64_t stride, Line line) {
    for (int64_t c = 0; c < channels; c += W) {
      float* place = out + c / kWinogradBlock * kWinogradPlaces * stride + c % kWinogradBlock;
      if (const int64_t rest = channels - c; rest >= W) transform_square<In, 6>(place, stride, line, [=](int i) { return Lanes::load(pixels[i] + c); });
      else transform_square<In, 6>(place, stride, line, [=](int i) { return load_part<Lanes>(pixels[i] + c, rest); });
    }
  }

  static void input(const float* const* pixels, int64_t channels, float* out, int64_t stride) {
    transform_pixels<6>(pixels, channels, out, stride, [](const Lanes(&x)[6], Lanes(&y)[6]) { transform_input_line(x, y); });
  }

  static void output_gradient(const float* const* pixels, int64_t channels, float* out, int64_t stride) {
    transform_pixels<4>(pixels, channels, out, stride, [](const Lanes(&x)[4], Lanes(&y)[6]) { transform_output_gradient_line(x, y); });
  }

  static void filter_gradient(const float* sums, int64_t channels, int64_t columns, float* out) {
    constexpr int64_t stride = winograd_stride(kWinogradBlock);
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t n = 0; n < columns; n += W) {
        const float* const from = sums + c * kWinogradBlock + n;
        transform_square<6, 3>(out + c * kWinogradBlock + n, kWinogradBlock * kWinogradBlock, [](const Lanes(&x)[6], Lanes(&y)[3]) { transform_filter_gradient_line(x, y); },
                               [=](int i) { return Lanes::load(from + i * stride); });
      }
  }

  static void weights(const float* packed, int64_t channels, int64_t columns, float* out) {
    constexpr int64_t stride = winograd_stride(kWinogradBlock);
    for (int64_t c = 0; c < channels; ++c, packed += 9 * kWinogradBlock, out += kWinogradBlock)
      for (int64_t n = 0; n < columns; n += W) {
        Lanes lines[3][6];  // [filter's column, place along its lines]
#pragma GCC unroll 3
        for (int j = 0; j < 3; ++j) {
          const Lanes g[3] = {Lanes::load(packed + j * kWinogradBlock + n), Lanes::load(packed + (3 + j) * kWinogradBlock + n), Lanes::load(packed + (6 + j) * kWinogradBlock + n)};
          transform_weight_line(g, lines[j]);
        }
#pragma GCC unroll 6
        for (int i = 0; i < 6; ++i) {
          const Lanes g[3] = {lines[0][i], lines[1][i], lines[2][i]};
          Lanes line[6];
          transform_weight_line(g, line);
#pragma GCC unroll 6
          for (int j = 0; j < 6; ++j) line[j].store(out + (i * 6 + j) * stride + n);
        }
      }
  }

  // sums [Rows, Vectors] += inputs [Rows, length] weights [length, Vectors], rows kWinogradBlock apart; inputs [length, Rows] when
  // Turned. The old sums are fetched meanwhile and added last, which also rounds less.
  template <int Rows, int Vectors, bool Turned>
  static void product(const float* inputs, const float* weights, float* out, int64_t length, bool first) {
    Lanes sums[Rows][Vectors];
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 16
      for (int n = 0; n < Vectors * W; n += kLine) __builtin_prefetch(out + r * kWinogradBlock + n, 1);
#pragma GCC unroll 16
      for (int j = 0; j < Vectors; ++j) sums[r][j] = Lanes::all(0);
    }
    for (int64_t c = 0; c < length; ++c, inputs += Turned ? kWinogradBlock : 1, weights += kWinogradBlock) {
      Lanes right[Vectors];
#pragma GCC unroll 16
      for (int j = 0; j < Vectors; ++j) right[j] = Lanes::load(weights + j * W);
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) {
        const Lanes left = Lanes::all(inputs[Turned ? r : r * kWinogradBlock]);
#pragma GCC unroll 16
        for (int j = 0; j < Vectors; ++j) sums[r][j] = fma(left, right[j], sums[r][j]);
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
      for (int j = 0; j < Vectors; ++j) {
        float* place = out + r * kWinogradBlock + j * W;
        (first ? sums[r][j] : sums[r][j] + Lanes::load(place)).store(place);
      }
  }

  template <int Vectors, bool Turned, int Rows = R>
  static void product_of(int64_t rows, const float* inputs, const float* weights, float* out, int64_t length, bool first) {
    if (rows == Rows) product<Rows, Vectors, Turned>(inputs, weights, out, length, first);
    else if constexpr (Rows > 1) product_of<Vectors, Turned, Rows - 1>(rows, inputs, weights, out, length, first);
  }

  // All rows [all, columns] of one of the 36 products.
  template <bool Turned>
  static void multiply_place(const float* inputs, const float* weights, float* sums, int64_t all, int64_t length, int64_t columns, bool first) {
    const int64_t groups = (all + R - 1) / R, least = all / groups, larger = all % groups;  // of nearly equal size
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t rows = least + (g < larger ? 1 : 0);
      int64_t n = 0;
      for (; n + N * W <= columns; n += N * W) product_of<N, Turned>(rows, inputs, weights + n, sums + n, length, first);
      for (; n < columns; n += Half * W) product_of<Half, Turned>(rows, inputs, weights + n, sums + n, length, first);
      inputs += Turned ? rows : rows * kWinogradBlock;
      sums += rows * kWinogradBlock;
    }
  }

  static void multiply(const WinogradProduct& p) {
    const int64_t stride = winograd_stride(p.tiles), weight_stride = winograd_stride(kWinogradBlock);
    for (int64_t place = 0; place < kWinogradPlaces; ++place)
      multiply_place<false>(p.inputs + place * stride, p.weights + place * weight_stride, p.sums + place * stride, p.tiles, p.channels, p.columns, p.first);
  }

  static void add_filter_sums(const WinogradFilterSums& p) {
    const int64_t stride = winograd_stride(p.tiles), sum_stride = winograd_stride(kWinogradBlock);
    for (int64_t place = 0; place < kWinogradPlaces; ++place)
      multiply_place<true>(p.inputs + place * stride, p.outputs + place * stride, p.sums + place * sum_stride, p.channels, p.tiles, p.columns, false);
  }

  // The tile's 4 x 4 vectors of the output channels from n, without bias.
  static void output_vectors(const float* sums, int64_t stride, Lanes (&out)[4][4]) {
    Lanes columns[6][4];  // [place along the pixels, line]
#pragma GCC unroll 6
    for (int j = 0; j < 6; ++j) {
      const float* m = sums + j * stride;
      const Lanes column[6] = {Lanes::load(m),           Lanes::load(m + 6 * stride),  Lanes::load(m + 12 * stride),
                               Lanes::load(m + 18 * stride), Lanes::load(m + 24 * stride), Lanes::load(m + 30 * stride)};
      transform_output_line(column, columns[j]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const Lanes line[6] = {columns[0][i], columns[1][i], columns[2][i], columns[3][i], columns[4][i], columns[5][i]};
      transform_output_line(line, out[i]);
    }
  }

  static void output(const WinogradOutput& o) {
    const bool full = o.lines == kWinogradTile && o.pixels == kWinogradTile;
    for (int64_t n = 0; n < o.channels; n += W) {
      Lanes tile[4][4];
      output_vectors(o.sums + n, o.stride, tile);
      const Lanes bias = Lanes::load(o.bias + n);
      const int64_t rest = o.channels - n;
      const auto place = [&](int64_t i, int64_t j) {
        const int64_t at = i * o.line + j * o.pixel + n;
        Lanes y = tile[i][j] + bias;
        if (rest >= W) {
          if (o.residual != nullptr) y = y + Lanes::load(o.residual + at);
          y.store(o.out + at);
        } else {
          if (o.residual != nullptr) y = y + load_part<Lanes>(o.residual + at, rest);
          store_part(y, o.out + at, rest);
        }
      };
      if (full) {
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i)
#pragma GCC unroll 4
          for (int j = 0; j < 4; ++j) place(i, j);
      } else {
        for (int64_t i = 0; i < o.lines; ++i)
          for (int64_t j = 0; j < o.pixels; ++j) place(i, j);
      }
    }
  }
};

template <typename Lanes>
constexpr WinogradKernel make_winograd_kernel(const char* name) {
  using K = Winograd<Lanes>;
  return {name, K::R, K::Half * K::W, K::input, K::weights, K::multiply, K::output, K::output_gradient, K::add_filter_sums, K::filter_gradient};
}

}  // namespace

}  // namespace seedbed::nn
