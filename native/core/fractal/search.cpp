#include "fractal/search.h"

#include <algorithm>

#include "fractal/bitmap.h"
#include "tensor/check.h"
#include "tensor/error.h"

namespace seedbed::fractal {

namespace {

constexpr int64_t kBlock = 32;  // candidates tried side by side
constexpr int64_t kTriesPerSystem = 1000;

void check_options(const SearchOptions& o) {
  const Renderer checked(o.render);
  check_range(o.count, "count", 1, 1'000'000);
  check_range(int64_t{o.min_maps}, "minMaps", 1, kMaxMaps);
  check_range(int64_t{o.max_maps}, "maxMaps", o.min_maps, kMaxMaps);
  check_range(o.fill_threshold, "fillThreshold", 0.0, 1.0);
  check_range(o.max_tries, "maxTries", 0, 1'000'000'000);
}

struct Candidate {
  Ifs ifs;
  double fill;
};

Ifs draw_candidate(const SearchOptions& options, int64_t index) {
  Rng rng(derive_seed(options.seed, "candidate", {static_cast<uint64_t>(index)}));
  Ifs ifs;
  ifs.affine.resize(options.min_maps + rng.below(options.max_maps - options.min_maps + 1));
  for (AffineMap& map : ifs.affine)
    for (double& value : map) value = rng.uniform(-1, 1);
  ifs.weights = weights_by_determinant(ifs.affine);
  return ifs;
}

// Share of lit pixels. `draws` [P - 1] are those of the frozen sequence, the same for all candidates.
double fill_of(const Ifs& ifs, const RenderOptions& options, const std::vector<double>& draws) {
  thread_local OrbitScratch scratch;
  const IndexSequence sequence(draws, ifs.weights, options.points);
  Bitmap bitmap(options.size);
  const Frame frame{options.size, options.padding, bitmap.stride(), options.aspect};
  if (options.precision == Precision::exact)
    set_pixels(bitmap, orbit_pixels_exact(ifs, sequence, options.start, frame));
  else
    set_pixels(bitmap, orbit_pixels_fast(ifs, sequence, options.start, frame, scratch));
  return static_cast<double>(count_set(bitmap)) / static_cast<double>(options.size * options.size);
}

}  // namespace

Search search_systems(const SearchOptions& options, WorkerPool& pool, const std::function<void(int64_t found)>& on_found) {
  check_options(options);
  const int64_t most = options.max_tries > 0 ? options.max_tries : options.count * kTriesPerSystem;
  const std::vector<double> draws = mersenne_doubles(options.render.points - 1, options.render.index_seed);
  Search search;
  std::vector<Candidate> block(kBlock);
  for (int64_t first = 0; first < most; first += kBlock) {
    const int64_t tried = std::min(kBlock, most - first);
    pool.run(tried, [&](int64_t i, int) {
      block[i].ifs = draw_candidate(options, first + i);
      block[i].fill = fill_of(block[i].ifs, options.render, draws);
    });
    for (int64_t i = 0; i < tried; ++i) {
      if (block[i].fill < options.fill_threshold) continue;
      search.systems.push_back(std::move(block[i].ifs));
      search.fills.push_back(block[i].fill);
      search.tries = first + i + 1;
      if (static_cast<int64_t>(search.systems.size()) == options.count) break;
    }
    if (on_found) on_found(static_cast<int64_t>(search.systems.size()));
    if (static_cast<int64_t>(search.systems.size()) == options.count) return search;
  }
  fail(ErrorCode::degenerate_fractal, "{} of {} systems found in maxTries = {} candidates: the others filled less than {} of their picture; lower fillThreshold or raise maxTries",
       search.systems.size(), options.count, most, options.fill_threshold);
}

}  // namespace seedbed::fractal
