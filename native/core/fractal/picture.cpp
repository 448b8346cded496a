#include "fractal/picture.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <span>

#include "fractal/picture_view.h"
#include "fractal/walk.h"
#include "tensor/check.h"
#include "tensor/error.h"
#include "tensor/scratch.h"

namespace seedbed::fractal {

namespace {

constexpr int64_t kWalks = 256;
constexpr int64_t kPointsPerPixel = 10;
constexpr int64_t kToneTable = 1 << 16;  // counts whose brightness is looked up
constexpr int kColours = 1024;
constexpr double kHues = 255;

void check_options(const PictureOptions& o) {
  check_range(o.size, "size", 16, 8192);
  check_range(o.points, "points", 0, 4'000'000'000);  // a counter has 32 bits
  check_range(int64_t{o.supersample}, "supersample", 1, 4);
  check_range(o.margin, "margin", 0.0, 0.45);
  check_range(o.range, "range", 2.0, 1e9);
  check_range(o.gamma, "gamma", 0.1, 10.0);
  check_range(static_cast<int64_t>(o.palette.size()), "number of palette colours", 2, kColours);
  check_range(o.memory, "memory", 1 << 16, int64_t{1} << 40);
}

// Brightness in [0, 1] of a count; `white` counts make full brightness.
float brightness(double count, double white, const PictureOptions& options) {
  const double density = count / white;
  switch (options.tone) {
    case Tone::log: return static_cast<float>(std::min(1.0, std::log1p(density * (options.range - 1)) / std::log(options.range)));
    case Tone::gamma: return static_cast<float>(std::min(1.0, std::pow(density, 1 / options.gamma)));
  }
  fail(ErrorCode::internal, "Unknown tone {}", static_cast<int>(options.tone));
}

// Colours between those of a palette.
std::vector<Rgb> spread(std::span<const Rgb> palette) {
  std::vector<Rgb> colours(kColours);
  const size_t last = palette.size() - 1;
  for (int i = 0; i < kColours; ++i) {
    const double place = static_cast<double>(i) / (kColours - 1) * static_cast<double>(last);
    const size_t below = static_cast<size_t>(place), above = std::min(below + 1, last);
    const double share = place - static_cast<double>(below);
    for (int c = 0; c < 3; ++c) colours[i][c] = static_cast<uint8_t>(std::lround(palette[below][c] * (1 - share) + palette[above][c] * share));
  }
  return colours;
}

// Points fall all over the counters: fewer pages, fewer misses.
template <typename Counter>
void make_counters(std::vector<Counter>& counters, int64_t count) {
  counters.reserve(count);
  prefer_huge_pages(counters.data(), count * sizeof(Counter));
  counters.resize(count);
}

// Rows of the picture that are counted together.
struct Band {
  int64_t first, rows;
};

class Painter {
 public:
  Painter(const Ifs& ifs, const PictureOptions& options, WorkerPool& pool, const std::function<void(int64_t, int64_t)>& on_part)
      : ifs_(ifs),
        draw_(ifs.weights),
        options_(options),
        pool_(pool),
        on_part_(on_part),
        side_(options.size * options.supersample),
        by_map_(options.colour_by == ColourBy::map),
        colours_(spread(std::span(options.palette).subspan(by_map_ ? 1 : 0))),
        points_(options.points > 0 ? options.points : options.size * options.size * kPointsPerPixel),
        view_(choose_view(ifs, draw_, options.seed, {.size = side_, .padding = static_cast<int64_t>(options.margin * static_cast<double>(side_)), .aspect = options.aspect})) {
    white_ = view_.white * static_cast<double>(points_) / (static_cast<double>(side_) * static_cast<double>(side_));
    for (int64_t count = 0; count < kToneTable; ++count) tones_.push_back(brightness(static_cast<double>(count), white_, options));
  }

  at::Tensor paint() {
    const int64_t size = options_.size, counters = side_ * options_.supersample;  // of a row of pixels
    const auto counter_bytes = static_cast<int64_t>(sizeof(uint32_t) + (by_map_ ? sizeof(uint64_t) : 0));
    const int64_t rows = std::clamp<int64_t>(options_.memory / (counters * counter_bytes), 1, size);
    parts_ = (size + rows - 1) / rows * kWalks;
    make_counters(counts_, rows * counters);
    if (by_map_) make_counters(hues_, rows * counters);
    at::Tensor image = at::empty({size, size, 3}, at::kByte);
    for (int64_t first = 0; first < size; first += rows) {
      const Band band{first, std::min(rows, size - first)};
      std::ranges::fill(counts_, 0);
      std::ranges::fill(hues_, 0);
      count(band);
      colour(band, image.mutable_data_ptr<uint8_t>() + first * size * 3);
    }
    return image;
  }

 private:
  // Adds the points of all walks to the band's counters. Integers are added: their order does not matter.
  void count(Band band) {
    const int64_t first = band.first * options_.supersample, rows = band.rows * options_.supersample;
    pool_.run(kWalks, [&](int64_t i, int) {
      const int64_t points = points_ / kWalks + (i < points_ % kWalks);
      walk(ifs_, draw_, derive_seed(options_.seed, "walk", {static_cast<uint64_t>(i)}), points, [&](double px, double py, double hue) {
        const int64_t y = side_ - 1 - view_.y.cell(py, side_) - first;  // y points up
        if (y < 0 || y >= rows) return;
        const int64_t x = view_.x.cell(px, side_);
        if (x < 0) return;
        std::atomic_ref(counts_[y * side_ + x]).fetch_add(1, std::memory_order_relaxed);
        if (by_map_) std::atomic_ref(hues_[y * side_ + x]).fetch_add(static_cast<uint64_t>(hue * kHues), std::memory_order_relaxed);
      });
      if (!on_part_) return;
      const std::lock_guard lock(mutex_);
      on_part_(++done_, parts_);
    });
  }

  // A pixel has the mean of its counters: edges come out smooth.
  void colour(Band band, uint8_t* pixels) {
    pool_.run(band.rows, [&](int64_t row, int) {
      for (int64_t x = 0; x < options_.size; ++x) std::ranges::copy(by_map_ ? hue_colour(row, x) : density_colour(row, x), pixels + (row * options_.size + x) * 3);
    });
  }

  // Calls `visit` with the places of a pixel's counters.
  template <typename Visit>
  void each_counter(int64_t row, int64_t x, Visit visit) const {
    const int64_t s = options_.supersample;
    for (int64_t dy = 0; dy < s; ++dy)
      for (int64_t dx = 0; dx < s; ++dx) visit((row * s + dy) * side_ + x * s + dx);
  }

  Rgb density_colour(int64_t row, int64_t x) const {
    float sum = 0;
    each_counter(row, x, [&](int64_t i) { sum += tone(counts_[i]); });
    return colours_[static_cast<int64_t>(sum / counters_of_pixel() * (kColours - 1) + 0.5F)];
  }

  // The mean of the hues' colours over the background, each as much as its counter is bright.
  Rgb hue_colour(int64_t row, int64_t x) const {
    float light = 0, sum[3] = {};
    each_counter(row, x, [&](int64_t i) {
      if (counts_[i] == 0) return;
      const float brightness = tone(counts_[i]);
      const double hue = static_cast<double>(hues_[i]) / counts_[i] / kHues;
      const Rgb& colour = colours_[static_cast<int64_t>(hue * (kColours - 1) + 0.5)];
      light += brightness;
      for (int c = 0; c < 3; ++c) sum[c] += brightness * colour[c];
    });
    Rgb mean;
    for (int c = 0; c < 3; ++c) mean[c] = static_cast<uint8_t>(options_.palette[0][c] + (sum[c] - light * options_.palette[0][c]) / counters_of_pixel() + 0.5F);
    return mean;
  }

  float counters_of_pixel() const { return static_cast<float>(options_.supersample * options_.supersample); }

  float tone(uint32_t count) const { return count < kToneTable ? tones_[count] : brightness(count, white_, options_); }

  const Ifs& ifs_;
  const MapDraw draw_;
  const PictureOptions& options_;
  WorkerPool& pool_;
  const std::function<void(int64_t, int64_t)>& on_part_;
  const int64_t side_;  // counters
  const bool by_map_;
  const std::vector<Rgb> colours_;  // [kColours]
  const int64_t points_;
  const View view_;
  double white_ = 1;              // the count of full brightness
  std::vector<float> tones_;      // [kToneTable], by count
  std::vector<uint32_t> counts_;  // [rows of a band x supersample, side]
  std::vector<uint64_t> hues_;    // the same: sums, in kHues parts of 1
  std::mutex mutex_;
  int64_t done_ = 0, parts_ = 0;
};

}  // namespace

at::Tensor draw_picture(const Ifs& ifs, const PictureOptions& options, WorkerPool& pool, const std::function<void(int64_t done, int64_t parts)>& on_part) {
  check_ifs(ifs);
  check_options(options);
  return Painter(ifs, options, pool, on_part).paint();
}

}  // namespace seedbed::fractal
