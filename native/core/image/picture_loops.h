#pragma once

// The loops of picture_kernel.h; each instruction set has its own copy of them.

#include "image/picture_affine.h"
#include "image/picture_kernel.h"
#include "image/picture_vectors.h"

namespace seedbed::image {

namespace {

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
