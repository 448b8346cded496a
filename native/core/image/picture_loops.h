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
typedef float Floats16 __attribute__((vector_size(64)));
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

// Turns 16 rows around, in four rounds that interleave ever larger parts of rows that lie 8, 4, 2 and 1 apart.
template <typename Row, typename Low, typename High>
void interleave_rows(Row* a, Low low, High high) {
  Row b[16];
  const auto round = [&](const Row* from, Row* to) {
    for (int i = 0; i < 8; ++i) {
      to[2 * i] = low(from[i], from[i + 8]);
      to[2 * i + 1] = high(from[i], from[i + 8]);
    }
  };
  round(a, b);
  round(b, a);
  round(a, b);
  round(b, a);
}

// 16 x 16 bytes.
void transpose_square(Rows in, uint8_t* out, int64_t out_stride) {
  constexpr Bytes16 kLow = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23}, kHigh = {8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  Bytes16 rows[16];
  for (int i = 0; i < 16; ++i) rows[i] = load<Bytes16>(in.data + i * in.stride);
  interleave_rows(rows, [&](Bytes16 a, Bytes16 b) { return __builtin_shuffle(a, b, kLow); }, [&](Bytes16 a, Bytes16 b) { return __builtin_shuffle(a, b, kHigh); });
  for (int i = 0; i < 16; ++i) store(rows[i], out + i * out_stride);
}

constexpr int64_t kStrip = 64;

// 16 x kStrip bytes.
void transpose_strip(Rows in, uint8_t* out, int64_t out_stride) {
#if defined(__AVX512BW__)
  __m512i rows[16];  // a square in each quarter
  for (int i = 0; i < 16; ++i) rows[i] = _mm512_loadu_si512(in.data + i * in.stride);
  interleave_rows(rows, [](__m512i a, __m512i b) { return _mm512_unpacklo_epi8(a, b); }, [](__m512i a, __m512i b) { return _mm512_unpackhi_epi8(a, b); });
  const auto put = [&](int column, __m128i bytes) { _mm_storeu_si128(reinterpret_cast<__m128i*>(out + column * out_stride), bytes); };
  for (int i = 0; i < 16; ++i) {
    put(i, _mm512_castsi512_si128(rows[i]));
    put(i + 16, _mm512_extracti32x4_epi32(rows[i], 1));
    put(i + 32, _mm512_extracti32x4_epi32(rows[i], 2));
    put(i + 48, _mm512_extracti32x4_epi32(rows[i], 3));
  }
#else
  for (int64_t c = 0; c < kStrip; c += 16) transpose_square({in.data + c, in.stride}, out + c * out_stride, out_stride);
#endif
}

// The last square of a row or column overlaps the one before, if it must.
void transpose(Rows in, int64_t rows, int64_t columns, uint8_t* out, int64_t out_stride) {
  if (rows < 16 || columns < 16) {
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c) out[c * out_stride + r] = in.data[r * in.stride + c];
    return;
  }
  const auto last = [](int64_t start, int64_t length) { return start + 16 <= length ? start : length - 16; };
  for (int64_t begin = 0; begin < rows; begin += 16) {
    const int64_t r = last(begin, rows);
    int64_t c = 0;
    for (; c + kStrip <= columns; c += kStrip) transpose_strip({in.data + r * in.stride + c, in.stride}, out + c * out_stride + r, out_stride);
    for (; c < columns; c += 16) {
      const int64_t square = last(c, columns);
      transpose_square({in.data + r * in.stride + square, in.stride}, out + square * out_stride + r, out_stride);
    }
  }
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

#if defined(__AVX512BW__)

// The same by products of 16-bit numbers, two rows at once, which are twice as fast as those of 32 bits: a weight is a high part times 2^kLowBits and a low one.
constexpr int kLowBits = kWeightBits / 2;

template <int kVectors>
void combine_pairs(Rows in, const int32_t* weights, int64_t taps, uint8_t* out) {
  struct Sums {
    __m512i high, low;
  };
  const __m512i zero = _mm512_setzero_si512();
  Sums sums[kVectors][4];
  for (auto& of_vector : sums)
    for (Sums& sum : of_vector) sum = {zero, _mm512_set1_epi32(kHalf)};
  for (int64_t k = 0; k < taps; k += 2) {
    const bool last = k + 1 == taps;
    const int32_t first = weights[k], second = last ? 0 : weights[k + 1];
    const uint8_t* const upper = in.data + k * in.stride;
    const uint8_t* const lower = last ? upper : upper + in.stride;
    const auto both = [](int32_t a, int32_t b) { return _mm512_set1_epi32((a & 0xFFFF) | static_cast<int32_t>(static_cast<uint32_t>(b) << 16)); };
    constexpr int32_t kLowMask = (1 << kLowBits) - 1;
    const __m512i high = both(first >> kLowBits, second >> kLowBits), low = both(first & kLowMask, second & kLowMask);
    for (int v = 0; v < kVectors; ++v) {
      const __m512i a = _mm512_loadu_si512(upper + 64 * v), b = _mm512_loadu_si512(lower + 64 * v);
      const __m512i left = _mm512_unpacklo_epi8(a, b), right = _mm512_unpackhi_epi8(a, b);
      const __m512i pairs[4] = {_mm512_unpacklo_epi8(left, zero), _mm512_unpackhi_epi8(left, zero), _mm512_unpacklo_epi8(right, zero), _mm512_unpackhi_epi8(right, zero)};
      for (int q = 0; q < 4; ++q) {
        sums[v][q].high = _mm512_add_epi32(sums[v][q].high, _mm512_madd_epi16(pairs[q], high));
        sums[v][q].low = _mm512_add_epi32(sums[v][q].low, _mm512_madd_epi16(pairs[q], low));
      }
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    const auto value = [&](int q) { return _mm512_srai_epi32(_mm512_add_epi32(_mm512_slli_epi32(sums[v][q].high, kLowBits), sums[v][q].low), kWeightBits); };
    _mm512_storeu_si512(out + 64 * v, _mm512_packus_epi16(_mm512_packs_epi32(value(0), value(1)), _mm512_packs_epi32(value(2), value(3))));
  }
}

#endif

void combine(Rows in, const int32_t* weights, int64_t taps, int64_t length, uint8_t* out) {
  int64_t i = 0;
#if defined(__AVX512BW__)
  for (; i + 128 <= length; i += 128) combine_pairs<2>({in.data + i, in.stride}, weights, taps, out + i);
  for (; i + 64 <= length; i += 64) combine_pairs<1>({in.data + i, in.stride}, weights, taps, out + i);
#else
  for (; i + 64 <= length; i += 64) combine_block<4>({in.data + i, in.stride}, weights, taps, out + i);
#endif
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

void affine_colour_one_by_one(const PaddedPicture& picture, const AffineRow& row) {
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

#if defined(__AVX512F__)

constexpr int64_t kMostGathered = int64_t{1} << 31;  // bytes that 32-bit offsets reach

__m512d vector(Doubles8 v) { return reinterpret_cast<__m512d>(v); }
Doubles8 floor(Doubles8 v) { return reinterpret_cast<Doubles8>(_mm512_roundscale_pd(vector(v), _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)); }
Ints8 whole(Doubles8 v) { return reinterpret_cast<Ints8>(_mm512_cvttpd_epi32(vector(v))); }

__mmask8 inside(Doubles8 v, int64_t size) {
  return static_cast<__mmask8>(_mm512_cmp_pd_mask(vector(v), _mm512_setzero_pd(), _CMP_GE_OQ) & _mm512_cmp_pd_mask(vector(v), _mm512_set1_pd(static_cast<double>(size)), _CMP_LT_OQ));
}

// Which way the points lie between pixels. A cubic at d = 0 is its second value, so shears and shifts along an axis need a quarter of the samples and no cubics across the other.
enum class Between { both, across, down };

Between between(const double* m) {
  if (m[3] == 0 && m[4] == 1 && m[5] == 0) return Between::across;
  if (m[0] == 1 && m[1] == 0 && m[2] == 0) return Between::down;
  return Between::both;
}

// Eight pixels: in each number the bytes of one pixel.
template <int kChannels>
void store_pixels(Ints8 v, __mmask8 shown, uint8_t* out) {
  if constexpr (kChannels == 1) return _mm_mask_storeu_epi8(out, shown, _mm256_cvtepi32_epi8(reinterpret_cast<__m256i>(v)));
  const __m256i close = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1));  // twelve bytes in each half
  const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(reinterpret_cast<__m256i>(v), close), _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 7, 7));
  uint32_t mask = 0xFFFFFF;
  if (shown != 0xFF) {
    mask = 0;
    for (int i = 0; i < 8; ++i) mask |= static_cast<uint32_t>(shown >> i & 1) * (7U << (3 * i));
  }
  _mm256_mask_storeu_epi8(out, mask, bytes);
}

// Eight pixels at a time. A gathered number holds four bytes: a row's samples of a gray pixel, or the channels of one sample.
template <int kBytes, Between kBetween>
void affine_eights(const PaddedPicture& picture, const AffineRow& row) {
  constexpr int kChannels = kBytes == 1 ? 1 : 3;
  constexpr int kFirstRow = kBetween == Between::across ? 1 : 0, kEndRow = kBetween == Between::across ? 2 : 4;
  constexpr int kFirstSample = kBetween == Between::down ? 1 : 0, kEndSample = kBetween == Between::down ? 2 : 4;
  const double* const m = row.m;
  const double line = static_cast<double>(row.y) + 0.5;
  const Doubles8 step = {0, 1, 2, 3, 4, 5, 6, 7};
  for (int64_t x = 0; x < row.width; x += 8) {
    const Doubles8 column = static_cast<double>(x) + step + 0.5;
    const Doubles8 in_x = m[0] * column + m[1] * line + m[2], in_y = m[3] * column + m[4] * line + m[5];
    const int64_t rest = row.width - x;
    const __mmask8 shown = inside(in_x, picture.width) & inside(in_y, picture.height) & static_cast<__mmask8>(rest < 8 ? (1 << rest) - 1 : 255);
    if (shown == 0) continue;
    const Doubles8 px = in_x - 0.5, py = in_y - 0.5, left = floor(px), top = floor(py), dx = px - left, dy = py - top;
    const Ints8 corner = (whole(top) - 1) * static_cast<int32_t>(picture.stride) + (whole(left) - 1) * kBytes;
    const auto gather = [&](int r, int k) { return reinterpret_cast<Ints8>(_mm256_mmask_i32gather_epi32(_mm256_setzero_si256(), shown, reinterpret_cast<__m256i>(corner), picture.data + r * picture.stride + k * kBytes, 1)); };
    Ints8 gathered[4][4];
    for (int r = kFirstRow; r < kEndRow; ++r)
      for (int k = kBytes == 1 ? 0 : kFirstSample; k < (kBytes == 1 ? 1 : kEndSample); ++k) gathered[r][k] = gather(r, k);
    Ints8 pixels{};
    for (int c = 0; c < kChannels; ++c) {
      const auto sample = [&](int r, int k) { return (kBytes == 1 ? gathered[r][0] >> (8 * k) : gathered[r][k] >> (8 * c)) & 255; };
      Doubles8 across[4];
      for (int r = kFirstRow; r < kEndRow; ++r) {
        if constexpr (kBetween == Between::down)
          across[r] = real(sample(r, 1));
        else
          across[r] = cubic(sample(r, 0), sample(r, 1), sample(r, 2), sample(r, 3), dx);
      }
      Doubles8 value = across[1];
      if constexpr (kBetween != Between::across) value = real_cubic(across[0], across[1], across[2], across[3], dy);
      value = value > 0 ? value : Doubles8{};
      value = value < 255 ? value : Doubles8{} + 255;
      pixels |= whole(value) << (8 * c);
    }
    store_pixels<kChannels>(pixels, shown, row.out + x * kChannels);
  }
}

template <int kBytes>
void affine(const PaddedPicture& picture, const AffineRow& row, auto one_by_one) {
  if (picture.stride * (picture.height + 2 * kMargin) >= kMostGathered) return one_by_one(picture, row);
  switch (between(row.m)) {
    case Between::across: return affine_eights<kBytes, Between::across>(picture, row);
    case Between::down: return affine_eights<kBytes, Between::down>(picture, row);
    case Between::both: return affine_eights<kBytes, Between::both>(picture, row);
  }
}

void affine_gray(const PaddedPicture& picture, const AffineRow& row) { affine<1>(picture, row, affine_gray_one_by_one); }
void affine_colour(const PaddedPicture& picture, const AffineRow& row) { affine<4>(picture, row, affine_colour_one_by_one); }

#else

void affine_gray(const PaddedPicture& picture, const AffineRow& row) { affine_gray_one_by_one(picture, row); }
void affine_colour(const PaddedPicture& picture, const AffineRow& row) { affine_colour_one_by_one(picture, row); }

#endif

// A channel of 16 pixels, whose 48 bytes are `in`.
template <int kChannel>
Bytes16 channel(const Bytes16* in) {
  constexpr Bytes16 kPlaces = Bytes16{0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33, 36, 39, 42, 45} + static_cast<uint8_t>(kChannel);
  constexpr Bytes16 kOrder = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const Bytes16 of_first_two = __builtin_shuffle(in[0], in[1], kPlaces);  // those from 32 on are wrong here
  return __builtin_shuffle(of_first_two, in[2], kPlaces < 32 ? kOrder : kPlaces - 16);
}

// The other way round.
void join_channels(Bytes16 r, Bytes16 g, Bytes16 b, Bytes16* out) {
  constexpr Bytes16 kRedGreen[3] = {{0, 16, 0, 1, 17, 0, 2, 18, 0, 3, 19, 0, 4, 20, 0, 5}, {21, 0, 6, 22, 0, 7, 23, 0, 8, 24, 0, 9, 25, 0, 10, 26}, {0, 11, 27, 0, 12, 28, 0, 13, 29, 0, 14, 30, 0, 15, 31, 0}};
  constexpr Bytes16 kBlue[3] = {{0, 1, 16, 3, 4, 17, 6, 7, 18, 9, 10, 19, 12, 13, 20, 15}, {0, 21, 2, 3, 22, 5, 6, 23, 8, 9, 24, 11, 12, 25, 14, 15}, {26, 1, 2, 27, 4, 5, 28, 7, 8, 29, 10, 11, 30, 13, 14, 31}};
  for (int i = 0; i < 3; ++i) out[i] = __builtin_shuffle(__builtin_shuffle(r, g, kRedGreen[i]), b, kBlue[i]);
}

// from + factor * (to - from), cut off as Pillow's Image.blend does (float, towards zero).
Bytes16 blend(Ints16 from, Ints16 to, float factor) {
  Floats16 mixed = __builtin_convertvector(from, Floats16) + factor * __builtin_convertvector(to - from, Floats16);
  mixed = mixed < 0 ? Floats16{} : mixed;
  mixed = mixed > 255 ? Floats16{} + 255 : mixed;
  return narrow(__builtin_convertvector(mixed, Ints16));
}

// Sixteen pixels, whose gray is that of ITU-R 601 in Pillow's fixed point.
void saturate_block(const uint8_t* in, float factor, uint8_t* out) {
  Bytes16 pixels[3];
  __builtin_memcpy(pixels, in, sizeof(pixels));
  const Ints16 r = widen(channel<0>(pixels)), g = widen(channel<1>(pixels)), b = widen(channel<2>(pixels));
  const Ints16 gray = (r * 19595 + g * 38470 + b * 7471 + 32768) >> 16;
  join_channels(blend(gray, r, factor), blend(gray, g, factor), blend(gray, b, factor), pixels);
  __builtin_memcpy(out, pixels, sizeof(pixels));
}

void saturate(uint8_t* pixels, int64_t count, float factor) {
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) saturate_block(pixels + 3 * i, factor, pixels + 3 * i);
  uint8_t rest[48]{};
  const auto bytes = static_cast<uint64_t>(3 * (count - i));
  __builtin_memcpy(rest, pixels + 3 * i, bytes);
  saturate_block(rest, factor, rest);
  __builtin_memcpy(pixels + 3 * i, rest, bytes);
}

constexpr int64_t kNarrow = 40;  // bytes of a row that is wide enough for a vector between its ends

// Smooth: weights 1 1 1, 1 5 1, 1 1 1 over 13, rounded.
void sharpen(const SharpenRow& row) {
  const int64_t step = row.channels, end = row.bytes - step;
  const auto sharp = [&](int64_t i) {
    const auto at = [i](const uint8_t* bytes) { return widen(load<Bytes16>(bytes + i)); };
    const Ints16 here = at(row.here);
    const Ints16 sum = 5 * here + at(row.above - step) + at(row.above) + at(row.above + step) + at(row.here - step) + at(row.here + step) + at(row.below - step) + at(row.below) + at(row.below + step);
    const Ints16 smooth = ((2 * sum + 13) * 20165) >> 19;  // over 26, exact for all sums of bytes
    return blend(smooth, here, row.factor);
  };
  int64_t i = step;
  for (; i + 16 <= end; i += 16) store(sharp(i), row.out + i);
  if (i >= end) return;
  if (end - step >= 16) return store(sharp(end - 16), row.out + end - 16);
  uint8_t rows[3][kNarrow]{}, out[kNarrow];  // all of a very small picture
  const uint8_t* const given[3] = {row.above, row.here, row.below};
  for (int r = 0; r < 3; ++r) __builtin_memcpy(rows[r], given[r], static_cast<uint64_t>(row.bytes));
  sharpen({rows[0], rows[1], rows[2], kNarrow, step, row.factor, out});
  __builtin_memcpy(row.out + step, out + step, static_cast<uint64_t>(end - step));
}

// Four pixels at a time out of sixteen bytes, which hold five and a third.
void spread(const uint8_t* in, int64_t count, uint8_t* out) {
  constexpr Bytes16 kPlaces = {0, 1, 2, 0, 3, 4, 5, 0, 6, 7, 8, 0, 9, 10, 11, 0};
  int64_t i = 0;
  for (; i + 6 <= count; i += 4) store(__builtin_shuffle(load<Bytes16>(in + 3 * i), kPlaces), out + 4 * i);
  for (; i < count; ++i)
    for (int c = 0; c < 3; ++c) out[4 * i + c] = in[3 * i + c];
}

void gray_planes(const uint8_t* in, int64_t count, const float* scale, const float* shift, float* out) {
  for (int64_t c = 0; c < 3; ++c) {
    const float factor = scale[c], added = shift[c];
    for (int64_t i = 0; i < count; ++i) out[c * count + i] = static_cast<float>(in[i]) * factor + added;
  }
}

void colour_planes(const uint8_t* in, int64_t count, const float* scale, const float* shift, float* out) {
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    Bytes16 pixels[3];
    __builtin_memcpy(pixels, in + 3 * i, sizeof(pixels));
    const auto put = [&](Bytes16 bytes, int64_t c) {
      const Floats16 value = __builtin_convertvector(widen(bytes), Floats16) * scale[c] + shift[c];
      __builtin_memcpy(out + c * count + i, &value, sizeof(value));
    };
    put(channel<0>(pixels), 0);
    put(channel<1>(pixels), 1);
    put(channel<2>(pixels), 2);
  }
  for (; i < count; ++i)
    for (int64_t c = 0; c < 3; ++c) out[c * count + i] = static_cast<float>(in[3 * i + c]) * scale[c] + shift[c];
}

void planes(const uint8_t* in, int64_t count, int64_t channels, const float* scale, const float* shift, float* out) {
  channels == 1 ? gray_planes(in, count, scale, shift, out) : colour_planes(in, count, scale, shift, out);
}

constexpr PictureKernel make_picture_kernel(const char* name) { return {name, transpose, combine, affine_gray, affine_colour, sharpen, saturate, spread, planes}; }

}  // namespace

}  // namespace seedbed::image
