#include "image/resize.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "tensor/error.h"

namespace seedbed::image {

namespace {

constexpr int kPrecisionBits = 32 - 8 - 2;
constexpr double kCubicA = -0.5;

double sinc(double x) { return x == 0 ? 1 : std::sin(x * std::numbers::pi) / (x * std::numbers::pi); }

double filter_value(Filter filter, double x) {
  const double d = std::abs(x);
  switch (filter) {
    case Filter::bilinear: return d < 1 ? 1 - d : 0;
    case Filter::bicubic:
      if (d < 1) return ((kCubicA + 2) * d - (kCubicA + 3)) * d * d + 1;
      return d < 2 ? (((d - 5) * d + 8) * d - 4) * kCubicA : 0;
    case Filter::lanczos: return d < 3 ? sinc(x) * sinc(x / 3) : 0;
  }
  return 0;
}

double filter_support(Filter filter) {
  switch (filter) {
    case Filter::bilinear: return 1;
    case Filter::bicubic: return 2;
    case Filter::lanczos: return 3;
  }
  return 0;
}

// Which input samples make output sample i, and how much of each.
struct Taps {
  int64_t width;                // most taps of one output
  std::vector<int64_t> first;   // [out]
  std::vector<int64_t> count;   // [out]
  std::vector<int32_t> weight;  // [out, width], fixed point
};

Taps make_taps(int64_t in, int64_t out, Filter filter) {
  const double scale = static_cast<double>(in) / static_cast<double>(out), widen = std::max(scale, 1.0);
  const double support = filter_support(filter) * widen;
  Taps taps{static_cast<int64_t>(std::ceil(support)) * 2 + 1, {}, {}, {}};
  taps.weight.assign(out * taps.width, 0);
  std::vector<double> weights(taps.width);
  for (int64_t i = 0; i < out; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    const int64_t first = std::max<int64_t>(static_cast<int64_t>(centre - support + 0.5), 0);
    const int64_t count = std::min<int64_t>(static_cast<int64_t>(centre + support + 0.5), in) - first;
    double sum = 0;
    for (int64_t k = 0; k < count; ++k) sum += weights[k] = filter_value(filter, (static_cast<double>(k + first) - centre + 0.5) * (1 / widen));
    for (int64_t k = 0; k < count; ++k) {
      const double w = (sum != 0 ? weights[k] / sum : weights[k]) * (1 << kPrecisionBits);
      taps.weight[i * taps.width + k] = static_cast<int32_t>(w < 0 ? w - 0.5 : w + 0.5);
    }
    taps.first.push_back(first);
    taps.count.push_back(count);
  }
  return taps;
}

uint8_t to_byte(int32_t sum) { return clip8(sum >> kPrecisionBits); }

constexpr int32_t kHalf = 1 << (kPrecisionBits - 1);

template <int kChannels>
void resize_row(const uint8_t* in, uint8_t* out, int64_t width, const Taps& taps) {
  for (int64_t x = 0; x < width; ++x) {
    int32_t sum[kChannels];
    std::fill_n(sum, kChannels, kHalf);
    const int32_t* weight = &taps.weight[x * taps.width];
    const uint8_t* pixel = in + taps.first[x] * kChannels;
    for (int64_t k = 0; k < taps.count[x]; ++k)
      for (int c = 0; c < kChannels; ++c) sum[c] += pixel[k * kChannels + c] * weight[k];
    for (int c = 0; c < kChannels; ++c) out[x * kChannels + c] = to_byte(sum[c]);
  }
}

Image resize_across(const Image& image, int64_t width, Filter filter) {
  const Taps taps = make_taps(image.width, width, filter);
  Image out(width, image.height, image.channels);
  for (int64_t y = 0; y < image.height; ++y)
    image.channels == 1 ? resize_row<1>(image.row(y), out.row(y), width, taps) : resize_row<3>(image.row(y), out.row(y), width, taps);
  return out;
}

Image resize_down(const Image& image, int64_t height, Filter filter) {
  const Taps taps = make_taps(image.height, height, filter);
  Image out(image.width, height, image.channels);
  std::vector<int32_t> sums(image.row_bytes());
  for (int64_t y = 0; y < height; ++y) {
    std::ranges::fill(sums, kHalf);
    for (int64_t k = 0; k < taps.count[y]; ++k) {
      const uint8_t* row = image.row(taps.first[y] + k);
      const int32_t weight = taps.weight[y * taps.width + k];
      for (size_t i = 0; i < sums.size(); ++i) sums[i] += row[i] * weight;
    }
    std::ranges::transform(sums, out.row(y), to_byte);
  }
  return out;
}

}  // namespace

Image resize(const Image& image, int64_t width, int64_t height, Filter filter) {
  expect(width > 0 && height > 0, "Expected a positive size, received {} x {}", width, height);
  if (width == image.width && height == image.height) return image;
  if (width == image.width) return resize_down(image, height, filter);
  if (height == image.height) return resize_across(image, width, filter);
  return resize_down(resize_across(image, width, filter), height, filter);
}

}  // namespace seedbed::image
