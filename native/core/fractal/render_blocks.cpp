#include "fractal/render_blocks.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "fractal/orbit_frame.h"
#include "tensor/error.h"

namespace seedbed::fractal {

namespace {

constexpr int64_t kBatchPictures = 1024;
constexpr int64_t kBatchBytes = int64_t{256} << 20;  // of pictures, on the device

// Steps of `bits` bits in the order of `BlockSteps`.
struct PackedSteps {
  std::vector<uint32_t> words;
  BlockSteps view;
};

PackedSteps pack_steps(const IndexSequence& sequence, size_t maps) {
  const int32_t bits = maps <= 2 ? 1 : maps <= 4 ? 2 : 4, per_word = 32 / bits;
  const int64_t rows = (sequence.points + kBlockThreads * per_word - 1) / (kBlockThreads * per_word), chunk = rows * per_word;
  PackedSteps packed{std::vector<uint32_t>(rows * kBlockThreads, 0), {nullptr, static_cast<int32_t>(rows), bits, static_cast<int32_t>(sequence.points)}};
  for (int64_t t = 0; t < sequence.points - 1; ++t) {
    const int64_t thread = t / chunk, place = t % chunk;
    packed.words[place / per_word * kBlockThreads + thread] |= uint32_t{sequence.steps[t]} << (place % per_word * bits);
  }
  packed.view.words = packed.words.data();
  return packed;
}

Frame frame_of(const RenderOptions& o) { return {o.size, o.padding, (o.size + 63) / 64 * 64, o.aspect}; }

Canvas canvas_of(const RenderOptions& o) {
  const bool patch = o.draw == Draw::patch;
  const auto size = static_cast<int32_t>(o.size), words = static_cast<int32_t>(frame_of(o).stride / 32);
  return {.size = size, .row_words = words, .row_quads = (size + 3) / 4, .patch = patch, .coin = patch && o.mask == Mask::random, .value = o.value};
}

Orbit orbit_of(const Ifs& ifs, Start start) {
  const auto [x, y] = start_point(ifs, start);
  return {make_tables(ifs), {static_cast<float>(x), static_cast<float>(y)}};
}

// Systems first to last - 1 have the same chances, so one sequence of maps.
struct Batch {
  const std::vector<Ifs>& systems;
  const std::vector<uint64_t>& seeds;
  int64_t first, last;
};

int64_t end_of_batch(const std::vector<Ifs>& systems, int64_t first, int64_t most) {
  const auto stop = std::min(static_cast<int64_t>(systems.size()), first + most);
  const auto begin = systems.begin();
  return std::find_if(begin + first, begin + stop, [&](const Ifs& ifs) { return ifs.weights != systems[first].weights; }) - begin;
}

// `pixels` [last - first, size, size]
void render_batch(BlockDevice& device, const Renderer& renderer, const Batch& batch, WorkerPool& pool, uint8_t* pixels) {
  const RenderOptions& options = renderer.options();
  const auto& weights = batch.systems[batch.first].weights;
  const PackedSteps steps = pack_steps(*IndexSequence::frozen(options.points, options.index_seed, weights), weights.size());
  std::vector<Orbit> orbits;
  for (int64_t i = batch.first; i < batch.last; ++i) orbits.push_back(orbit_of(batch.systems[i], options.start));
  const std::vector<OrbitBounds> bounds = device.find_bounds(orbits, steps.view);
  std::vector<Drawing> drawings;
  std::vector<int64_t> beyond;
  for (size_t i = 0; i < bounds.size(); ++i) {
    const OrbitBounds& b = bounds[i];
    if (!b.usable) beyond.push_back(static_cast<int64_t>(i));
    else drawings.push_back({static_cast<int32_t>(i), make_pixel_map({b.low_x, b.high_x}, {b.low_y, b.high_y}, frame_of(options)), batch.seeds[batch.first + i]});
  }
  device.draw(drawings, canvas_of(options), pixels);
  pool.run(static_cast<int64_t>(beyond.size()), [&](int64_t n, int) {
    const int64_t i = batch.first + beyond[n];
    renderer.render(batch.systems[i], batch.seeds[i], pixels + beyond[n] * options.size * options.size);
  });
}

}  // namespace

bool blocks_can_draw(const RenderOptions& o) { return o.precision == Precision::fast && !o.colour && (o.draw == Draw::point || o.texture == Texture::iid); }

at::Tensor render_blocks(BlockDevice& device, const Renderer& renderer, const std::vector<Ifs>& systems, const std::vector<uint64_t>& texture_seeds, WorkerPool& pool,
                         const std::function<void(int64_t done)>& on_image) {
  expect(systems.size() == texture_seeds.size(), "Expected {} texture seeds, one per system, received {}", systems.size(), texture_seeds.size());
  for (const Ifs& ifs : systems) check_ifs(ifs);
  const int64_t count = static_cast<int64_t>(systems.size()), size = renderer.options().size;
  const int64_t most = std::clamp<int64_t>(kBatchBytes / (size * size), 1, kBatchPictures);
  at::Tensor images = at::empty({count, size, size}, at::kByte);
  for (int64_t first = 0, last = 0; first < count; first = last) {
    last = end_of_batch(systems, first, most);
    render_batch(device, renderer, {systems, texture_seeds, first, last}, pool, images.mutable_data_ptr<uint8_t>() + first * size * size);
    if (on_image) on_image(last);
  }
  return images;
}

}  // namespace seedbed::fractal
