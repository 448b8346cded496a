#include "image/augment.h"

#include <algorithm>
#include <cmath>

#include "image/resize.h"
#include "tensor/check.h"

namespace seedbed::image {

namespace {

constexpr int kCropTries = 10;
constexpr int kErasingTries = 10;

// The largest centred box whose aspect lies within the ratios.
Box centred_box(const ImageView& image, const AugmentOptions& options) {
  const double ratio = static_cast<double>(image.width) / static_cast<double>(image.height);
  int64_t width = image.width, height = image.height;
  if (ratio < options.min_ratio) height = std::llround(static_cast<double>(width) / options.min_ratio);
  if (ratio > options.max_ratio) width = std::llround(static_cast<double>(height) * options.max_ratio);
  return {(image.width - width) / 2, (image.height - height) / 2, width, height};
}

Box random_box(const ImageView& image, const AugmentOptions& options, Rng& rng) {
  const double area = static_cast<double>(image.width * image.height);
  for (int attempt = 0; attempt < kCropTries; ++attempt) {
    const double target = area * rng.uniform(options.min_scale, options.max_scale);
    const double aspect = std::exp(rng.uniform(std::log(options.min_ratio), std::log(options.max_ratio)));
    const int64_t width = std::llround(std::sqrt(target * aspect)), height = std::llround(std::sqrt(target / aspect));
    if (width < 1 || height < 1 || width > image.width || height > image.height) continue;
    const auto left = static_cast<int64_t>(rng.below(image.width - width + 1)), top = static_cast<int64_t>(rng.below(image.height - height + 1));
    return {left, top, width, height};
  }
  return centred_box(image, options);
}

void normalise_to(const Image& image, const Normalisation& normalisation, float* out) {
  std::array<float, 3> scale{}, shift{};
  for (size_t c = 0; c < 3; ++c) {
    scale[c] = 1 / (255 * normalisation.std[c]);
    shift[c] = -normalisation.mean[c] / normalisation.std[c];
  }
  picture_kernel().planes(image.pixels.data(), image.width * image.height, image.channels, scale.data(), shift.data(), out);
}

// The colour of black and of white per channel, in [0, 1].
struct TwoColours {
  std::array<float, 3> black{0, 0, 0};
  std::array<float, 3> white{1, 1, 1};
};

TwoColours draw_colours(Rng& rng) {
  TwoColours colours;
  for (float& channel : colours.black) channel = static_cast<float>(rng.uniform());
  for (float& channel : colours.white) channel = static_cast<float>(rng.uniform());
  return colours;
}

void paint_to(const Image& gray, const TwoColours& colours, const Normalisation& normalisation, float* out) {
  const int64_t area = gray.width * gray.height;
  for (int64_t c = 0; c < 3; ++c) {
    const float black = (colours.black[c] - normalisation.mean[c]) / normalisation.std[c];
    const float step = (colours.white[c] - colours.black[c]) / (255 * normalisation.std[c]);
    for (int64_t i = 0; i < area; ++i) out[c * area + i] = black + step * static_cast<float>(gray.pixels[i]);
  }
}

void erase(const RandomErasingOptions& options, int64_t size, Rng& rng, float* out) {
  if (!rng.chance(options.probability)) return;
  const double area = static_cast<double>(size * size), log_aspect = std::log(options.min_aspect);
  for (int attempt = 0; attempt < kErasingTries; ++attempt) {
    const double target = area * rng.uniform(options.min_area, options.max_area), aspect = std::exp(rng.uniform(log_aspect, -log_aspect));
    const int64_t height = std::llround(std::sqrt(target * aspect)), width = std::llround(std::sqrt(target / aspect));
    if (width < 1 || height < 1 || width >= size || height >= size) continue;
    const auto left = static_cast<int64_t>(rng.below(size - width + 1)), top = static_cast<int64_t>(rng.below(size - height + 1));
    for (int64_t c = 0; c < 3; ++c)
      for (int64_t y = top; y < top + height; ++y)
        for (int64_t x = left; x < left + width; ++x) out[(c * size + y) * size + x] = static_cast<float>(rng.normal());
    return;
  }
}

}  // namespace

void check_augment(const AugmentOptions& o) {
  check_range(o.min_scale, "augment.scale", 0.0001, o.max_scale);
  check_range(o.max_scale, "augment.scale", o.min_scale, 1.0);
  check_range(o.min_ratio, "augment.ratio", 0.01, o.max_ratio);
}

void augment_to(const ImageView& image, const AugmentOptions& options, const Normalisation& normalisation, int64_t size, Rng& rng, float* out) {
  const Box box = random_box(image, options, rng);
  const bool left_right = rng.chance(options.flip), top_bottom = rng.chance(options.flip_vertical);
  Image view = resize_part(image, box, size, size, {left_right, top_bottom});
  if (options.rand_augment) rand_augment(view, *options.rand_augment, rng);
  if (view.channels == 1 && options.colourise > 0 && rng.chance(options.colourise))
    paint_to(view, draw_colours(rng), normalisation, out);
  else
    normalise_to(view, normalisation, out);
  if (options.random_erasing) erase(*options.random_erasing, size, rng, out);
}

void centre_view_to(const ImageView& image, double crop_share, const Normalisation& normalisation, int64_t size, float* out) {
  const auto short_side = static_cast<int64_t>(static_cast<double>(size) / crop_share), shorter = std::min(image.width, image.height);
  const int64_t width = short_side * image.width / shorter, height = short_side * image.height / shorter;
  const Image resized = resize(image, width, height);
  const auto start = [size](int64_t length) { return static_cast<int64_t>(std::nearbyint(static_cast<double>(length - size) / 2)); };
  normalise_to(crop(resized, start(width), start(height), size, size), normalisation, out);
}

}  // namespace seedbed::image
