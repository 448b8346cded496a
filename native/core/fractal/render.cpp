#include "fractal/render.h"

#include <ATen/ops/empty.h>

#include <cstring>

#include "fractal/bitmap.h"
#include "tensor/check.h"
#include "tensor/error.h"

namespace seedbed::fractal {

namespace {

void check_options(const RenderOptions& o) {
  check_range(o.size, "size", 16, 8192);
  check_range(o.padding, "padding", 0, o.size / 2 - 4);
  check_range(o.points, "points", 1, 1'000'000'000);
  check_range(int64_t{o.value}, "value", 1, 255);
}

// Solid or random 3x3 patches over each other in the order of the points, as the released code draws them.
double paste_patches(const std::vector<int32_t>& offsets, const RenderOptions& options, uint64_t seed, uint8_t* pixels) {
  Rng rng(seed);
  const int64_t size = options.size;
  std::memset(pixels, 0, size * size);
  for (int32_t offset : offsets) {
    const int64_t y = offset / size, x = offset % size;
    const uint64_t mask = options.mask == Mask::fill ? 511 : 1 + rng.below(511);
    for (int64_t dy = 0; dy < 3; ++dy) {
      if (y + 1 + dy >= size) break;
      uint8_t* row = pixels + (size - 1 - (y + 1 + dy)) * size;
      for (int64_t dx = 0; dx < 3 && x + 1 + dx < size; ++dx) row[x + 1 + dx] = mask >> (3 * dy + dx) & 1 ? options.value : 0;
    }
  }
  const int64_t lit = std::count(pixels, pixels + size * size, options.value);
  return static_cast<double>(lit) / static_cast<double>(size * size);
}

double draw_bitmap(const std::vector<int32_t>& offsets, const RenderOptions& options, uint64_t seed, uint8_t* pixels) {
  Bitmap bitmap(options.size);
  set_pixels(bitmap, offsets);
  if (options.draw == Draw::patch) {
    dilate_to_patches(bitmap);
    if (options.mask == Mask::random) thin_by_coin(bitmap, seed);
  }
  expand_flipped(bitmap, options.value, pixels);
  return static_cast<double>(count_set(bitmap)) / static_cast<double>(options.size * options.size);
}

}  // namespace

Renderer::Renderer(const RenderOptions& options) : options_(options) { check_options(options); }

double Renderer::render(const Ifs& ifs, uint64_t texture_seed, uint8_t* pixels) const {
  check_ifs(ifs);
  thread_local OrbitScratch scratch;
  const auto sequence = IndexSequence::frozen(options_.points, options_.index_seed, ifs.weights);
  const bool pasting = options_.draw == Draw::patch && options_.texture == Texture::paste;
  const Frame frame{options_.size, options_.padding, pasting ? options_.size : (options_.size + 63) / 64 * 64, options_.aspect};
  if (options_.precision == Precision::exact)
    scratch.pixels = orbit_pixels_exact(ifs, *sequence, options_.start, frame);
  else
    orbit_pixels_fast(ifs, *sequence, options_.start, frame, scratch);
  return pasting ? paste_patches(scratch.pixels, options_, texture_seed, pixels) : draw_bitmap(scratch.pixels, options_, texture_seed, pixels);
}

at::Tensor Renderer::render_all(const std::vector<Ifs>& systems, const std::vector<uint64_t>& texture_seeds, WorkerPool& pool,
                                const std::function<void(int64_t done)>& on_image) const {
  expect(systems.size() == texture_seeds.size(), "Expected {} texture seeds, one per system, received {}", systems.size(), texture_seeds.size());
  const auto count = static_cast<int64_t>(systems.size());
  at::Tensor images = at::empty({count, options_.size, options_.size}, at::kByte);
  auto* pixels = images.mutable_data_ptr<uint8_t>();
  pool.run(count, [&](int64_t i, int) { render(systems[i], texture_seeds[i], pixels + i * options_.size * options_.size); }, on_image);
  return images;
}

}  // namespace seedbed::fractal
