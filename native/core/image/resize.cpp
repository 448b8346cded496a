#include "image/resize.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "tensor/error.h"

namespace seedbed::image {

namespace {

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
      const double w = (sum != 0 ? weights[k] / sum : weights[k]) * (1 << kWeightBits);
      taps.weight[i * taps.width + k] = static_cast<int32_t>(w < 0 ? w - 0.5 : w + 0.5);
    }
    taps.first.push_back(first);
    taps.count.push_back(count);
  }
  return taps;
}

constexpr size_t kMostKept = 1 << 25;  // bytes

// Memory of a thread that is used again for the next picture, unless it is very large.
struct Scratch {
  std::vector<uint8_t> columns, narrow_columns, rows;

  void trim() {
    for (auto* memory : {&columns, &narrow_columns, &rows})
      if (memory->size() > kMostKept) std::vector<uint8_t>().swap(*memory);
  }
};

uint8_t* sized(std::vector<uint8_t>& memory, int64_t bytes) {
  if (memory.size() < static_cast<size_t>(bytes)) memory.resize(bytes);
  return memory.data();
}

constexpr int64_t kWhole = 64;  // rows of whole vectors: what they hold beyond the picture is never read

// Rows of `width` pixels out of the box's, which the kernel reads as columns: along those its vectors run.
Rows resize_across(Rows in, int64_t channels, const Box& box, int64_t width, bool mirrored, Filter filter, const PictureKernel& kernel, Scratch& scratch) {
  const Taps taps = make_taps(box.width, width, filter);
  const int64_t height = box.height, length = (height + kWhole - 1) / kWhole * kWhole;
  uint8_t* const columns = sized(scratch.columns, channels * box.width * length);
  uint8_t* const narrow = sized(scratch.narrow_columns, channels * width * length);
  kernel.transpose(in, height, channels * box.width, columns, length);
  for (int64_t x = 0; x < width; ++x) {
    const int64_t to = mirrored ? width - 1 - x : x;
    for (int64_t c = 0; c < channels; ++c)
      kernel.combine({columns + (taps.first[x] * channels + c) * length, channels * length}, &taps.weight[x * taps.width], taps.count[x], length, narrow + (to * channels + c) * length);
  }
  uint8_t* const rows = sized(scratch.rows, channels * width * height);
  kernel.transpose({narrow, length}, channels * width, height, rows, channels * width);
  return {rows, channels * width};
}

}  // namespace

Image resize_part(const ImageView& image, const Box& box, int64_t width, int64_t height, const Mirror& mirror, Filter filter, const PictureKernel& kernel) {
  expect(width > 0 && height > 0, "Expected a positive size, received {} x {}", width, height);
  expect(box.left >= 0 && box.top >= 0 && box.width > 0 && box.height > 0 && box.left + box.width <= image.width && box.top + box.height <= image.height,
         "Expected a part inside {} x {}, received {} x {} at ({}, {})", image.width, image.height, box.width, box.height, box.left, box.top);
  thread_local Scratch scratch;
  Image out(width, height, image.channels);
  Rows rows{image.row(box.top) + box.left * image.channels, image.row_bytes()};
  const bool across = width != box.width;
  if (across) rows = resize_across(rows, image.channels, box, width, mirror.left_right, filter, kernel, scratch);
  const auto row = [&](int64_t y) { return out.row(mirror.top_bottom ? height - 1 - y : y); };
  if (height == box.height) {
    for (int64_t y = 0; y < height; ++y) std::copy_n(rows.data + y * rows.stride, out.row_bytes(), row(y));
  } else {
    const Taps taps = make_taps(box.height, height, filter);
    for (int64_t y = 0; y < height; ++y) kernel.combine({rows.data + taps.first[y] * rows.stride, rows.stride}, &taps.weight[y * taps.width], taps.count[y], out.row_bytes(), row(y));
  }
  if (mirror.left_right && !across) flip_left_right(out);
  scratch.trim();
  return out;
}

Image resize(const ImageView& image, int64_t width, int64_t height, Filter filter, const PictureKernel& kernel) {
  return resize_part(image, {0, 0, image.width, image.height}, width, height, {}, filter, kernel);
}

}  // namespace seedbed::image
