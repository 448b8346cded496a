#include "image/adjust.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numeric>

namespace seedbed::image {

namespace {

using Table = std::array<uint8_t, 256>;
using Histogram = std::array<int64_t, 256>;

template <typename Function>
Table make_table(Function value_of) {
  Table table;
  for (int i = 0; i < 256; ++i) table[i] = clip8(value_of(i));
  return table;
}

void map_values(Image& image, const Table& table) {
  for (uint8_t& value : image.pixels) value = table[value];
}

// Builds a table from each channel's histogram and applies it.
template <typename TableOf>
void map_channels(Image& image, TableOf table_of) {
  for (int64_t c = 0; c < image.channels; ++c) {
    std::array<Histogram, 4> parts{};  // neighbours are often equal, and one count would wait for the other
    for (size_t i = c, place = 0; i < image.pixels.size(); i += image.channels, ++place) ++parts[place % parts.size()][image.pixels[i]];
    Histogram histogram{};
    for (const Histogram& part : parts) std::ranges::transform(histogram, part, histogram.begin(), std::plus());
    const Table table = table_of(histogram);
    for (size_t i = c; i < image.pixels.size(); i += image.channels) image.pixels[i] = table[image.pixels[i]];
  }
}

Table identity() {
  return make_table([](int i) { return i; });
}

Table auto_contrast_table(const Histogram& histogram) {
  const auto filled = [](int64_t count) { return count > 0; };
  const auto low = std::ranges::find_if(histogram, filled) - histogram.begin();
  const auto high = 255 - (std::find_if(histogram.rbegin(), histogram.rend(), filled) - histogram.rbegin());
  if (high <= low) return identity();
  const double scale = 255.0 / static_cast<double>(high - low), offset = -static_cast<double>(low) * scale;
  return make_table([&](int i) { return static_cast<int>(i * scale + offset); });
}

Table equalize_table(const Histogram& histogram) {
  int64_t total = 0, last = 0, levels = 0;
  for (int64_t count : histogram)
    if (count > 0) {
      total += count;
      last = count;
      ++levels;
    }
  const int64_t step = (total - last) / 255;
  if (levels <= 1 || step == 0) return identity();
  int64_t n = step / 2;
  return make_table([&](int i) {
    const int64_t value = n / step;
    n += histogram[i];
    return static_cast<int>(std::min<int64_t>(value, 255));
  });
}

// degenerate + factor * (image - degenerate), cut off like Pillow's Image.blend (float, towards zero).
uint8_t blend(uint8_t degenerate, uint8_t value, float factor) {
  const float mixed = static_cast<float>(degenerate) + factor * static_cast<float>(static_cast<int>(value) - static_cast<int>(degenerate));
  return mixed <= 0 ? 0 : mixed >= 255 ? 255 : static_cast<uint8_t>(mixed);
}

uint8_t rounded_mean(const Image& gray) {
  const double sum = static_cast<double>(std::accumulate(gray.pixels.begin(), gray.pixels.end(), int64_t{0}));
  return static_cast<uint8_t>(sum / static_cast<double>(gray.pixels.size()) + 0.5);
}

}  // namespace

void auto_contrast(Image& image) { map_channels(image, auto_contrast_table); }

void equalize(Image& image) { map_channels(image, equalize_table); }

void invert(Image& image) {
  map_values(image, make_table([](int i) { return 255 - i; }));
}

void posterize(Image& image, int bits) {
  const int mask = 0xFF << (8 - bits) & 0xFF;
  map_values(image, make_table([mask](int i) { return i & mask; }));
}

void solarize(Image& image, int threshold) {
  map_values(image, make_table([threshold](int i) { return i < threshold ? i : 255 - i; }));
}

void solarize_add(Image& image, int add, int threshold) {
  map_values(image, make_table([=](int i) { return i < threshold ? std::min(255, i + add) : i; }));
}

void enhance_colour(Image& image, float factor, const PictureKernel& kernel) {
  if (image.channels == 3) kernel.saturate(image.pixels.data(), image.width * image.height, factor);
}

void enhance_contrast(Image& image, float factor) {
  const uint8_t mean = rounded_mean(to_gray(image));
  map_values(image, make_table([&](int i) { return blend(mean, static_cast<uint8_t>(i), factor); }));
}

void enhance_brightness(Image& image, float factor) {
  map_values(image, make_table([&](int i) { return blend(0, static_cast<uint8_t>(i), factor); }));
}

void enhance_sharpness(Image& image, float factor, const PictureKernel& kernel) {
  const Image from = image;
  for (int64_t y = 1; y + 1 < image.height; ++y) kernel.sharpen({from.row(y - 1), from.row(y), from.row(y + 1), image.row_bytes(), image.channels, factor, image.row(y)});
}

}  // namespace seedbed::image
