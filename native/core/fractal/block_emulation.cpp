#include <cstring>

#include "fractal/block_draw.h"

namespace seedbed::fractal {

namespace {

struct LoopBlock {
  template <typename Phase>
  void each(Phase phase) const {
    for (int t = 0; t < kBlockThreads; ++t) phase(t);
  }
  void set_bit(uint32_t* bitmap, int32_t bit) const { bitmap[bit / 32] |= 1U << (bit % 32); }
};

class EmulatedBlocks final : public BlockDevice {
 public:
  std::vector<OrbitBounds> find_bounds(const std::vector<Orbit>& orbits, const BlockSteps& steps) override {
    orbits_ = orbits;
    steps_ = steps;
    words_.assign(steps.words, steps.words + steps.rows * kBlockThreads);
    steps_.words = words_.data();
    starts_.resize(orbits.size() * kBlockThreads);
    std::vector<OrbitBounds> bounds(orbits.size());
    const auto memory = std::make_unique<BoundsMemory>();
    for (size_t i = 0; i < orbits.size(); ++i) find_orbit_bounds(LoopBlock{}, orbits[i], steps_, *memory, &starts_[i * kBlockThreads], bounds[i]);
    return bounds;
  }

  void draw(const std::vector<Drawing>& drawings, const Canvas& canvas, uint8_t* pixels) override {
    const int64_t size = canvas.size;
    std::vector<uint32_t> bitmap(size * canvas.row_words), picture(size * canvas.row_quads);
    for (const Drawing& drawing : drawings) {
      draw_orbit(LoopBlock{}, orbits_[drawing.orbit].tables, steps_, &starts_[drawing.orbit * kBlockThreads], drawing, canvas, bitmap.data(), picture.data());
      for (int64_t y = 0; y < size; ++y) std::memcpy(pixels + (drawing.orbit * size + y) * size, &picture[y * canvas.row_quads], size);
    }
  }

 private:
  std::vector<Orbit> orbits_;     // [L]
  std::vector<Point> starts_;     // [L, kBlockThreads]
  std::vector<uint32_t> words_;   // [rows, kBlockThreads]
  BlockSteps steps_{};
};

}  // namespace

std::unique_ptr<BlockDevice> emulate_blocks() { return std::make_unique<EmulatedBlocks>(); }

}  // namespace seedbed::fractal
