#pragma once

// The loops of picture_kernel.h; each instruction set has its own copy of them.

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "image/picture_kernel.h"

namespace seedbed::image {

namespace {

typedef uint8_t Bytes16 __attribute__((vector_size(16)));
typedef int32_t Ints4 __attribute__((vector_size(16)));
typedef int32_t Ints8 __attribute__((vector_size(32)));
typedef int32_t Ints16 __attribute__((vector_size(64)));
typedef double Doubles4 __attribute__((vector_size(32)));
typedef double Doubles8 __attribute__((vector_size(64)));

template <typename Vector>
Vector load(const uint8_t* p) {
  Vector v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}

template <typename Vector>
void store(const Vector& v, uint8_t* p) {
  __builtin_memcpy(p, &v, sizeof(v));
}

// Conversions of bytes, which GCC 12 does number by number unless told how.
#if defined(__AVX512F__)
Ints16 widen(Bytes16 v) { return reinterpret_cast<Ints16>(_mm512_cvtepu8_epi32(reinterpret_cast<__m128i>(v))); }
Bytes16 narrow(Ints16 v) { return reinterpret_cast<Bytes16>(_mm512_cvtepi32_epi8(reinterpret_cast<__m512i>(v))); }
Doubles8 real(Ints8 v) { return reinterpret_cast<Doubles8>(_mm512_cvtepi32_pd(reinterpret_cast<__m256i>(v))); }
#else
#if defined(__AVX2__)
Ints16 widen(Bytes16 v) {
  const auto bytes = reinterpret_cast<__m128i>(v);
  const __m256i halves[2] = {_mm256_cvtepu8_epi32(bytes), _mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8))};
  return load<Ints16>(reinterpret_cast<const uint8_t*>(halves));
}
Bytes16 narrow(Ints16 v) {  // of numbers that are bytes
  __m256i halves[2];
  store(v, reinterpret_cast<uint8_t*>(halves));
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(halves[0], halves[1]), 0xD8);
  return reinterpret_cast<Bytes16>(_mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}
#else
Ints16 widen(Bytes16 v) { return __builtin_convertvector(v, Ints16); }
Bytes16 narrow(Ints16 v) { return __builtin_convertvector(v, Bytes16); }
#endif
Doubles8 real(Ints8 v) { return __builtin_convertvector(v, Doubles8); }
#endif
#if defined(__AVX2__)
Ints8 widen(uint64_t v) { return reinterpret_cast<Ints8>(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<int64_t>(v)))); }
#else
Ints8 widen(uint64_t v) {
  Ints8 wide;
  for (int i = 0; i < 8; ++i) wide[i] = static_cast<int32_t>(v >> (8 * i) & 255);
  return wide;
}
#endif
Doubles4 real(Ints4 v) { return __builtin_convertvector(v, Doubles4); }

// Squares of 16 x 16 bytes, in four rounds that interleave ever larger parts of rows that lie 8, 4, 2 and 1 apart.
void transpose_square(Rows in, uint8_t* out, int64_t out_stride) {
  Bytes16 a[16], b[16];
  for (int i = 0; i < 16; ++i) a[i] = load<Bytes16>(in.data + i * in.stride);
  constexpr Bytes16 kLow = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23}, kHigh = {8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const auto round = [&](const Bytes16* from, Bytes16* to) {
    for (int i = 0; i < 8; ++i) {
      to[2 * i] = __builtin_shuffle(from[i], from[i + 8], kLow);
      to[2 * i + 1] = __builtin_shuffle(from[i], from[i + 8], kHigh);
    }
  };
  round(a, b);
  round(b, a);
  round(a, b);
  round(b, a);
  for (int i = 0; i < 16; ++i) store(a[i], out + i * out_stride);
}

void transpose(Rows in, int64_t rows, int64_t columns, uint8_t* out, int64_t out_stride) {
  const int64_t whole_rows = rows / 16 * 16, whole_columns = columns / 16 * 16;
  for (int64_t r = 0; r < whole_rows; r += 16)
    for (int64_t c = 0; c < whole_columns; c += 16) transpose_square({in.data + r * in.stride + c, in.stride}, out + c * out_stride + r, out_stride);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = r < whole_rows ? whole_columns : 0; c < columns; ++c) out[c * out_stride + r] = in.data[r * in.stride + c];
}

constexpr int32_t kHalf = 1 << (kWeightBits - 1);

int32_t cut_off(int32_t value) { return value < 0 ? 0 : value > 255 ? 255 : value; }

template <int kVectors>
void combine_block(Rows in, const int32_t* weights, int64_t taps, uint8_t* out) {
  Ints16 sums[kVectors];
  for (Ints16& sum : sums) sum = Ints16{} + kHalf;
  for (int64_t k = 0; k < taps; ++k)
    for (int v = 0; v < kVectors; ++v) sums[v] += widen(load<Bytes16>(in.data + k * in.stride + 16 * v)) * weights[k];
  for (int v = 0; v < kVectors; ++v) {
    Ints16 value = sums[v] >> kWeightBits;
    value = value < 0 ? Ints16{} : value;
    value = value > 255 ? Ints16{} + 255 : value;
    store(narrow(value), out + 16 * v);
  }
}

void combine(Rows in, const int32_t* weights, int64_t taps, int64_t length, uint8_t* out) {
  int64_t i = 0;
  for (; i + 64 <= length; i += 64) combine_block<4>({in.data + i, in.stride}, weights, taps, out + i);
  for (; i + 16 <= length; i += 16) combine_block<1>({in.data + i, in.stride}, weights, taps, out + i);
  for (; i < length; ++i) {
    int32_t sum = kHalf;
    for (int64_t k = 0; k < taps; ++k) sum += in.data[k * in.stride + i] * weights[k];
    out[i] = static_cast<uint8_t>(cut_off(sum >> kWeightBits));
  }
}

// Cubics through the second and third of four values, at d in [0, 1), a = -1; from whole numbers their coefficients are exact.
template <typename Whole, typename Step>
auto cubic(Whole v1, Whole v2, Whole v3, Whole v4, Step d) {
  const auto p1 = real(v2), p2 = real(v3 - v1), p3 = real(2 * (v1 - v2) + v3 - v4), p4 = real(v2 - v1 - v3 + v4);
  return p1 + d * (p2 + d * (p3 + d * p4));
}

// The same in the order in which Pillow adds real numbers.
template <typename Real, typename Step>
Real real_cubic(Real v1, Real v2, Real v3, Real v4, Step d) {
  const Real p1 = v2, p2 = -v1 + v3, p3 = 2 * (v1 - v2) + v3 - v4, p4 = -v1 + v2 - v3 + v4;
  return p1 + d * (p2 + d * (p3 + d * p4));
}

struct Point {
  const uint8_t* corner;  // of the first of 4 x 4 samples
  double dx, dy;
};

// Calls body(x, point) for each pixel of the row that shows a point of the picture.
template <int kBytes>
void for_points(const PaddedPicture& picture, const AffineRow& row, auto body) {
  const double* const m = row.m;
  const double width = static_cast<double>(picture.width), height = static_cast<double>(picture.height);
  for (int64_t x = 0; x < row.width; ++x) {
    const double column = static_cast<double>(x) + 0.5, line = static_cast<double>(row.y) + 0.5;
    const double in_x = m[0] * column + m[1] * line + m[2], in_y = m[3] * column + m[4] * line + m[5];
    if (!(in_x >= 0 && in_x < width && in_y >= 0 && in_y < height)) continue;
    const double px = in_x - 0.5, py = in_y - 0.5;
    auto left = static_cast<int64_t>(px), top = static_cast<int64_t>(py);
    left -= static_cast<double>(left) > px;
    top -= static_cast<double>(top) > py;
    body(x, Point{picture.data + (top - 1) * picture.stride + (left - 1) * kBytes, px - static_cast<double>(left), py - static_cast<double>(top)});
  }
}

uint8_t byte_of(double value) { return value <= 0 ? 0 : value >= 255 ? 255 : static_cast<uint8_t>(value); }

void affine_gray_one_by_one(const PaddedPicture& picture, const AffineRow& row) {
  for_points<1>(picture, row, [&](int64_t x, const Point& p) {
    Ints4 samples;  // a row of four in each
    for (int i = 0; i < 4; ++i) __builtin_memcpy(reinterpret_cast<char*>(&samples) + 4 * i, p.corner + i * picture.stride, 4);
    const auto column = [&](int k) { return (samples >> (8 * k)) & 255; };
    const Doubles4 across = cubic(column(0), column(1), column(2), column(3), p.dx);
    row.out[x] = byte_of(real_cubic(across[0], across[1], across[2], across[3], p.dy));
  });
}

#if defined(__AVX512F__)

constexpr int64_t kMostGathered = int64_t{1} << 31;  // bytes that 32-bit offsets reach

// Eight pixels at a time: a gathered word holds the four samples of one row of one pixel.
void affine_gray(const PaddedPicture& picture, const AffineRow& row) {
  if (picture.stride * (picture.height + 2 * kMargin) >= kMostGathered) return affine_gray_one_by_one(picture, row);
  const double* const m = row.m;
  const double line = static_cast<double>(row.y) + 0.5;
  const Doubles8 step = {0, 1, 2, 3, 4, 5, 6, 7};
  const auto vector = [](Doubles8 v) { return reinterpret_cast<__m512d>(v); };
  const auto floor = [&](Doubles8 v) { return reinterpret_cast<Doubles8>(_mm512_roundscale_pd(vector(v), _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)); };
  const auto whole = [&](Doubles8 v) { return reinterpret_cast<Ints8>(_mm512_cvttpd_epi32(vector(v))); };
  const auto inside = [&](Doubles8 v, int64_t size) {
    return static_cast<__mmask8>(_mm512_cmp_pd_mask(vector(v), _mm512_setzero_pd(), _CMP_GE_OQ) & _mm512_cmp_pd_mask(vector(v), _mm512_set1_pd(static_cast<double>(size)), _CMP_LT_OQ));
  };
  for (int64_t x = 0; x < row.width; x += 8) {
    const Doubles8 column = static_cast<double>(x) + step + 0.5;
    const Doubles8 in_x = m[0] * column + m[1] * line + m[2], in_y = m[3] * column + m[4] * line + m[5];
    const int64_t rest = row.width - x;
    const __mmask8 shown = inside(in_x, picture.width) & inside(in_y, picture.height) & static_cast<__mmask8>(rest < 8 ? (1 << rest) - 1 : 255);
    if (shown == 0) continue;
    const Doubles8 px = in_x - 0.5, py = in_y - 0.5, left = floor(px), top = floor(py), dx = px - left, dy = py - top;
    const Ints8 corner = (whole(top) - 1) * static_cast<int32_t>(picture.stride) + whole(left) - 1;
    const __m256i offsets = _mm256_maskz_mov_epi32(shown, reinterpret_cast<__m256i>(corner));
    Doubles8 across[4];
    for (int r = 0; r < 4; ++r) {
      const auto samples = reinterpret_cast<Ints8>(_mm256_i32gather_epi32(reinterpret_cast<const int*>(picture.data + r * picture.stride), offsets, 1));
      const auto sample = [&](int k) { return (samples >> (8 * k)) & 255; };
      across[r] = cubic(sample(0), sample(1), sample(2), sample(3), dx);
    }
    Doubles8 value = real_cubic(across[0], across[1], across[2], across[3], dy);
    value = value > 0 ? value : Doubles8{};
    value = value < 255 ? value : Doubles8{} + 255;
    _mm_mask_storeu_epi8(row.out + x, shown, _mm256_cvtepi32_epi8(reinterpret_cast<__m256i>(whole(value))));
  }
}

#else

void affine_gray(const PaddedPicture& picture, const AffineRow& row) { affine_gray_one_by_one(picture, row); }

#endif

void affine_colour(const PaddedPicture& picture, const AffineRow& row) {
  for_points<4>(picture, row, [&](int64_t x, const Point& p) {
    // Two rows at a time: lanes 0 to 3 are the channels of the upper one.
    const auto across = [&](const uint8_t* upper) {
      const uint8_t* const lower = upper + picture.stride;
      const auto column = [&](int k) {
        uint32_t of_upper, of_lower;
        __builtin_memcpy(&of_upper, upper + 4 * k, 4);
        __builtin_memcpy(&of_lower, lower + 4 * k, 4);
        return widen(of_upper | static_cast<uint64_t>(of_lower) << 32);
      };
      return cubic(column(0), column(1), column(2), column(3), p.dx);
    };
    const Doubles8 first = across(p.corner), second = across(p.corner + 2 * picture.stride);
    const auto low = [](Doubles8 v) { return __builtin_shufflevector(v, v, 0, 1, 2, 3); };
    const auto high = [](Doubles8 v) { return __builtin_shufflevector(v, v, 4, 5, 6, 7); };
    Doubles4 value = real_cubic(low(first), high(first), low(second), high(second), p.dy);
    value = value > 0 ? value : Doubles4{};
    value = value < 255 ? value : Doubles4{} + 255;
    const Ints4 whole = __builtin_convertvector(value, Ints4);
    for (int c = 0; c < 3; ++c) row.out[3 * x + c] = static_cast<uint8_t>(whole[c]);
  });
}

void planes(const uint8_t* in, int64_t count, int64_t channels, const float* scale, const float* shift, float* out) {
  for (int64_t c = 0; c < 3; ++c) {
    const float factor = scale[c], added = shift[c];
    float* const plane = out + c * count;
    if (channels == 1)
      for (int64_t i = 0; i < count; ++i) plane[i] = static_cast<float>(in[i]) * factor + added;
    else
      for (int64_t i = 0; i < count; ++i) plane[i] = static_cast<float>(in[3 * i + c]) * factor + added;
  }
}

constexpr PictureKernel make_picture_kernel(const char* name) { return {name, transpose, combine, affine_gray, affine_colour, planes}; }

}  // namespace

}  // namespace seedbed::image
