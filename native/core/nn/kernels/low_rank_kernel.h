#pragma once

// Loops of y += scale (x down^T) up^T for a block of rows at a time: what lies between the two products stays in the
// first cache, and x is read once for all that is added; and of the factors' gradients. See lanes.h for the rules.

#include "nn/kernels/lanes.h"

namespace seedbed::nn {

// Leading dimensions are filled with zeros to whole vectors of the widest code.
constexpr int64_t kLowRankUnit = 16;

struct LowRankPart {
  const float* down;  // [in, down_stride], transposed
  const float* up;    // [rank, up_stride], transposed
  int64_t rank, out, down_stride, up_stride, y_stride;
  float scale;
  void* y;  // [rows, out] of rows y_stride apart
  float* hidden = nullptr;  // [rows, down_stride] to keep scale x down^T in, up to the vector that holds the last column; null: it is not kept
};

struct LowRankRows {
  const void* x;  // [rows, in]
  Element element;  // of x and y
  int64_t rows, in;
  const LowRankPart* parts;
  int64_t count;
};

// out += x^T hidden.
struct LowRankGradient {
  const float* x;       // [rows, x_stride], of which `columns`
  const float* hidden;  // [rows, hidden_stride], as kept
  int64_t rows, columns, rank, x_stride, hidden_stride;
  float* out;  // [columns, hidden_stride]
};

struct LowRankKernel {
  const char* name;
  int64_t rows;  // best multiple of rows in a call
  int64_t (*scratch)(int64_t in, int64_t largest_down_stride);  // floats
  void (*add)(const LowRankRows&, float* work);
  void (*gradient)(const LowRankGradient&);
};

extern const LowRankKernel kLowRankPortable;
extern const LowRankKernel kLowRankAvx2;
extern const LowRankKernel kLowRankAvx512;

namespace {

// Where a number lies that all lanes read.
struct Steps {
  int64_t row, term;
};

// sums[r][j] += sum over n of a[r][n] * b[n][j], r < R broadcast, j < N vectors.
template <typename Lanes, int R, int N>
void add_products(const float* a, Steps steps, const float* b, int64_t b_stride, int64_t length, Lanes (&sums)[R][N]) {
  for (int64_t n = 0; n < length; ++n, b += b_stride) {
    Lanes right[N];
#pragma GCC unroll 16
    for (int j = 0; j < N; ++j) right[j] = Lanes::load(b + j * Lanes::kWidth);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Lanes left = Lanes::all(a[r * steps.row + n * steps.term]);
#pragma GCC unroll 16
      for (int j = 0; j < N; ++j) sums[r][j] = fma(left, right[j], sums[r][j]);
    }
  }
}

// N vectors of hidden = scale * x down^T.
template <typename Lanes, int R, int N>
void hidden_vectors(const float* x, int64_t in, const LowRankPart& part, int64_t first, float* hidden) {
  constexpr int64_t W = Lanes::kWidth;
  Lanes sums[R][N];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int j = 0; j < N; ++j) sums[r][j] = Lanes::all(0);
  add_products<Lanes, R, N>(x, {in, 1}, part.down + first, part.down_stride, in, sums);
  const Lanes scale = Lanes::all(part.scale);
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int j = 0; j < N; ++j) (sums[r][j] * scale).store(hidden + r * part.down_stride + first + j * W);
}

// N whole vectors of y += hidden up^T.
template <typename Lanes, int R, int N, typename T>
void out_vectors(const float* hidden, const LowRankPart& part, int64_t first, T* y) {
  constexpr int64_t W = Lanes::kWidth;
  Lanes sums[R][N];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int j = 0; j < N; ++j) sums[r][j] = Lanes::load(y + r * part.y_stride + first + j * W);
  add_products<Lanes, R, N>(hidden, {part.down_stride, 1}, part.up + first, part.up_stride, part.rank, sums);
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int j = 0; j < N; ++j) sums[r][j].store(y + r * part.y_stride + first + j * W);
}

// The last columns of y, fewer than a vector.
template <typename Lanes, int R, typename T>
void out_rest(const float* hidden, const LowRankPart& part, int64_t first, T* y) {
  Lanes sums[R][1];
  for (int r = 0; r < R; ++r) sums[r][0] = load_part<Lanes>(y + r * part.y_stride + first, part.out - first);
  add_products<Lanes, R, 1>(hidden, {part.down_stride, 1}, part.up + first, part.up_stride, part.rank, sums);
  for (int r = 0; r < R; ++r) store_part(sums[r][0], y + r * part.y_stride + first, part.out - first);
}

// R rows: x [R, in] as float32, y of the part's own type.
template <typename Lanes, int R, typename T>
void add_block(const float* x, int64_t in, const LowRankPart& part, T* y, float* hidden) {
  constexpr int64_t W = Lanes::kWidth, N = Lanes::kVectors;
  int64_t c = 0;
  for (; c + N * W <= part.down_stride && c < part.rank; c += N * W) hidden_vectors<Lanes, R, N>(x, in, part, c, hidden);
  for (; c < part.rank; c += W) hidden_vectors<Lanes, R, 1>(x, in, part, c, hidden);
  int64_t o = 0;
  for (; o + N * W <= part.out; o += N * W) out_vectors<Lanes, R, N>(hidden, part, o, y);
  for (; o + W <= part.out; o += W) out_vectors<Lanes, R, 1>(hidden, part, o, y);
  if (o < part.out) out_rest<Lanes, R>(hidden, part, o, y);
}

template <typename Lanes, int R, typename T>
void add_rows(const LowRankRows& task, int64_t first, float* work) {
  const T* x = static_cast<const T*>(task.x) + first * task.in;
  float* hidden = work;
  const float* floats;
  if constexpr (sizeof(T) == sizeof(float)) {
    floats = x;
  } else {
    float* copy = work;
    hidden = work + R * task.in;
    int64_t i = 0;
    for (; i + Lanes::kWidth <= R * task.in; i += Lanes::kWidth) Lanes::load(x + i).store(copy + i);
    for (; i < R * task.in; ++i) copy[i] = widen(x[i]);
    floats = copy;
  }
  for (int64_t p = 0; p < task.count; ++p) {
    const LowRankPart& part = task.parts[p];
    float* const kept = part.hidden == nullptr ? hidden : part.hidden + first * part.down_stride;
    add_block<Lanes, R>(floats, task.in, part, static_cast<T*>(part.y) + first * part.y_stride, kept);
  }
}

template <typename Lanes, typename T>
void add_low_rank_of(const LowRankRows& task, float* work) {
  int64_t row = 0;
  for (; row + Lanes::kRows <= task.rows; row += Lanes::kRows) add_rows<Lanes, Lanes::kRows, T>(task, row, work);
  for (; row < task.rows; ++row) add_rows<Lanes, 1, T>(task, row, work);
}

constexpr int64_t kGradientRows = 64;  // whose x stays in the first cache while all its columns are read

// R columns of x with N vectors of hidden.
template <typename Lanes, int R, int N>
void gradient_vectors(const LowRankGradient& task, int64_t row, int64_t rows, int64_t column, int64_t first) {
  float* const out = task.out + column * task.hidden_stride + first;
  Lanes sums[R][N];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int j = 0; j < N; ++j) sums[r][j] = Lanes::load(out + r * task.hidden_stride + j * Lanes::kWidth);
  add_products<Lanes, R, N>(task.x + row * task.x_stride + column, {1, task.x_stride}, task.hidden + row * task.hidden_stride + first, task.hidden_stride, rows, sums);
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int j = 0; j < N; ++j) sums[r][j].store(out + r * task.hidden_stride + j * Lanes::kWidth);
}

template <typename Lanes, int R>
void gradient_columns(const LowRankGradient& task, int64_t row, int64_t rows, int64_t column) {
  constexpr int64_t W = Lanes::kWidth, N = Lanes::kVectors;
  int64_t c = 0;
  for (; c + N * W <= task.hidden_stride && c < task.rank; c += N * W) gradient_vectors<Lanes, R, N>(task, row, rows, column, c);
  for (; c < task.rank; c += W) gradient_vectors<Lanes, R, 1>(task, row, rows, column, c);
}

template <typename Lanes>
struct LowRank {
  static int64_t scratch(int64_t in, int64_t largest_down_stride) { return Lanes::kRows * (in + largest_down_stride); }
  static void add(const LowRankRows& task, float* work) {
    if (task.element == Element::float32) add_low_rank_of<Lanes, float>(task, work);
    else add_low_rank_of<Lanes, uint16_t>(task, work);
  }
  static void gradient(const LowRankGradient& task) {
    for (int64_t row = 0; row < task.rows; row += kGradientRows) {
      const int64_t rows = row + kGradientRows < task.rows ? kGradientRows : task.rows - row;
      int64_t column = 0;
      for (; column + Lanes::kRows <= task.columns; column += Lanes::kRows) gradient_columns<Lanes, Lanes::kRows>(task, row, rows, column);
      for (; column < task.columns; ++column) gradient_columns<Lanes, 1>(task, row, rows, column);
    }
  }
};

template <typename Lanes>
constexpr LowRankKernel make_low_rank_kernel(const char* name) {
  return {name, Lanes::kRows, LowRank<Lanes>::scratch, LowRank<Lanes>::add, LowRank<Lanes>::gradient};
}

}  // namespace

}  // namespace seedbed::nn
