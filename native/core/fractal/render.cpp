#include "fractal/render.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "fractal/bitmap.h"
#include "tensor/check.h"
#include "tensor/error.h"
#include "tensor/scratch.h"

namespace seedbed::fractal {

namespace {

void check_options(const RenderOptions& o) {
  check_range(o.size, "size", 16, 8192);
  check_range(o.padding, "padding", 0, o.size / 2 - 4);
  check_range(o.points, "points", 1, 1'000'000'000);
  check_range(int64_t{o.value}, "value", 1, 255);
}

constexpr int64_t kHues = 128;

using Pixel = std::array<uint8_t, 3>;

// A point's colour by its number: 128 hues in turn, saturation and value 0.75, blue in the first channel as the released code stores it.
const std::array<Pixel, kHues>& point_colours() {
  static const std::array<Pixel, kHues> colours = [] {
    std::array<Pixel, kHues> made{};
    constexpr double kSaturation = 0.75, kValue = 0.75;
    for (int64_t i = 0; i < kHues; ++i) {
      const double sector = 6.0 * static_cast<double>(i) / kHues;
      const auto channel = [&](double shift) {  // 5: red, 3: green, 1: blue
        const double k = std::fmod(shift + sector, 6.0);
        return static_cast<uint8_t>(std::lround(255 * kValue * (1 - kSaturation * std::clamp(std::min(k, 4 - k), 0.0, 1.0))));
      };
      made[i] = {channel(1), channel(3), channel(5)};
    }
    return made;
  }();
  return colours;
}

// The pixels of a point's patch, above and to the right of it; `light(at, is_lit)`.
template <typename Light>
void light_patch(int64_t x, int64_t y, uint64_t mask, int64_t size, Light light) {
  for (int64_t dy = 0; dy < 3; ++dy) {
    if (y + 1 + dy >= size) break;
    for (int64_t dx = 0; dx < 3 && x + 1 + dx < size; ++dx) light((size - 1 - (y + 1 + dy)) * size + x + 1 + dx, mask >> (3 * dy + dx) & 1);
  }
}

// Solid or random 3x3 patches over each other in the order of the points, as the released code draws them; `paint(at, point, is_lit)` does it at a pixel.
template <typename Paint>
void paste(const std::vector<int32_t>& offsets, const RenderOptions& options, uint64_t seed, Paint paint) {
  Rng rng(seed);
  const int64_t size = options.size;
  for (size_t i = 0; i < offsets.size(); ++i) {
    const int64_t y = offsets[i] / size, x = offsets[i] % size;
    if (options.draw == Draw::point) {
      paint((size - 1 - y) * size + x, i, true);
      continue;
    }
    const uint64_t mask = options.mask == Mask::fill ? 511 : 1 + rng.below(511);
    light_patch(x, y, mask, size, [&](int64_t at, bool is_lit) { paint(at, i, is_lit); });
  }
}

double share_of(int64_t lit, int64_t size) { return static_cast<double>(lit) / static_cast<double>(size * size); }

double paste_patches(const std::vector<int32_t>& offsets, const RenderOptions& options, uint64_t seed, uint8_t* pixels) {
  const int64_t area = options.size * options.size;
  std::memset(pixels, 0, area);
  paste(offsets, options, seed, [&](int64_t at, size_t, bool is_lit) { pixels[at] = is_lit ? options.value : 0; });
  return share_of(std::count(pixels, pixels + area, options.value), options.size);
}

double paste_colours(const std::vector<int32_t>& offsets, const RenderOptions& options, uint64_t seed, uint8_t* pixels) {
  const std::array<Pixel, kHues>& colours = point_colours();
  auto* const picture = reinterpret_cast<Pixel*>(pixels);
  const int64_t area = options.size * options.size;
  std::fill_n(picture, area, Pixel{});
  paste(offsets, options, seed, [&](int64_t at, size_t point, bool is_lit) { picture[at] = is_lit ? colours[point % kHues] : Pixel{}; });
  return share_of(area - std::count(picture, picture + area, Pixel{}), options.size);
}

double draw_bitmap(const std::vector<int32_t>& offsets, const RenderOptions& options, uint64_t seed, uint8_t* pixels) {
  Bitmap bitmap(options.size, options.code);
  set_pixels(bitmap, offsets);
  if (options.draw == Draw::patch) {
    dilate_to_patches(bitmap);
    if (options.mask == Mask::random) thin_by_coin(bitmap, seed);
  }
  expand_flipped(bitmap, options.value, pixels);
  return share_of(count_set(bitmap), options.size);
}

}  // namespace

Renderer::Renderer(const RenderOptions& options) : options_(options) { check_options(options); }

double Renderer::render(const Ifs& ifs, uint64_t texture_seed, uint8_t* pixels) const {
  check_ifs(ifs);
  thread_local OrbitScratch scratch;
  const auto sequence = IndexSequence::frozen(options_.points, options_.index_seed, ifs.weights);
  const bool pasting = options_.colour || (options_.draw == Draw::patch && options_.texture == Texture::paste);
  const Frame frame{options_.size, options_.padding, pasting ? options_.size : (options_.size + 63) / 64 * 64, options_.aspect};
  if (options_.colour || options_.precision == Precision::exact)
    scratch.pixels = orbit_pixels_exact(ifs, *sequence, options_.start, frame);
  else
    orbit_pixels_fast(ifs, *sequence, options_.start, frame, scratch, options_.code);
  if (options_.colour) return paste_colours(scratch.pixels, options_, texture_seed, pixels);
  return pasting ? paste_patches(scratch.pixels, options_, texture_seed, pixels) : draw_bitmap(scratch.pixels, options_, texture_seed, pixels);
}

std::vector<int64_t> Renderer::shape(int64_t count) const {
  std::vector<int64_t> shape{count, options_.size, options_.size};
  if (options_.colour) shape.push_back(channels());
  return shape;
}

void Renderer::render_all(const std::vector<Ifs>& systems, const std::vector<uint64_t>& texture_seeds, WorkerPool& pool, at::Tensor& images, const std::function<void(int64_t done)>& on_image) const {
  expect(systems.size() == texture_seeds.size(), "Expected {} texture seeds, one per system, received {}", systems.size(), texture_seeds.size());
  const auto count = static_cast<int64_t>(systems.size());
  auto* pixels = images.mutable_data_ptr<uint8_t>();
  prefer_huge_pages(pixels, images.nbytes());
  pool.run(count, [&](int64_t i, int) { render(systems[i], texture_seeds[i], pixels + i * options_.size * options_.size * channels()); }, on_image);
}

}  // namespace seedbed::fractal
