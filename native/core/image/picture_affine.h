#pragma once

// Pillow's bicubic affine transform, for picture_loops.h.

#include "image/picture_kernel.h"
#include "image/picture_vectors.h"

namespace seedbed::image {

namespace {

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

}  // namespace

}  // namespace seedbed::image
