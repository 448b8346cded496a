#include "fractal/family.h"

#include <atomic>

#include "tensor/check.h"
#include "tensor/error.h"

namespace seedbed::fractal {

namespace {

void check_options(const FamilyOptions& o) {
  check_range(o.count, "count", 1, 1'000'000);
  check_range(o.fill_threshold, "fillThreshold", 0.0, 1.0);
  check_range(int64_t{o.probes}, "probes", 1, 1000);
  check_range(o.probe_share, "probeShare", 0.0, 1.0);
  check_range(int64_t{o.max_base_tries}, "maxBaseTries", 1, 100'000);
  check_range(int64_t{o.max_image_tries}, "maxImageTries", 1, 100'000);
}

// A perturbed copy and whether its picture is full enough.
struct Trial {
  Ifs ifs;
  bool accepted;
};

Trial try_copy(const Ifs& base, const FamilyOptions& options, const Renderer& renderer, uint64_t perturbation_seed, uint64_t texture) {
  thread_local std::vector<uint8_t> pixels;
  pixels.resize(options.render.size * options.render.size);
  Rng rng(perturbation_seed);
  Ifs copy = perturb_ifs(base, options.perturb, rng);
  const double fill = renderer.render(copy, texture, pixels.data());
  return {std::move(copy), fill > options.fill_threshold};
}

bool passes_probes(const Ifs& base, const FamilyOptions& options, const Renderer& renderer, WorkerPool& pool) {
  std::atomic<int> passed{0};
  pool.run(options.probes, [&](int64_t probe, int) {
    const auto index = static_cast<uint64_t>(probe);
    passed += try_copy(base, options, renderer, derive_seed(options.seed, "probe", {index}), texture_seed(options.seed, probe)).accepted;
  });
  return passed >= options.probe_share * options.probes;
}

Ifs find_base(const FamilyOptions& options, const Renderer& renderer, WorkerPool& pool, int& tries) {
  for (tries = 1; tries <= options.max_base_tries; ++tries) {
    Rng rng(derive_seed(options.seed, "base", {static_cast<uint64_t>(tries)}));
    Ifs base = sample_ifs(options.sample, rng);
    if (passes_probes(base, options, renderer, pool)) return base;
  }
  fail(ErrorCode::degenerate_fractal,
       "None of {} systems with sigmaFactor {} filled more than {} of its picture in {} of {} perturbed copies; raise sigmaFactor or lower fillThreshold",
       options.max_base_tries, options.sample.sigma_factor, options.fill_threshold, options.probe_share, options.probes);
}

Family draw_copies(Family family, const FamilyOptions& options, const Renderer& renderer, WorkerPool& pool, const std::function<void(int64_t)>& on_copy) {
  family.copies.resize(options.count);
  std::atomic<int64_t> tries{0};
  for (int64_t i = 0; i < options.count; ++i) family.texture_seeds.push_back(texture_seed(options.seed, i));
  pool.run(options.count, [&](int64_t i, int) {
    for (int attempt = 0; attempt < options.max_image_tries; ++attempt) {
      const uint64_t seed = derive_seed(options.seed, "copy", {static_cast<uint64_t>(i), static_cast<uint64_t>(attempt)});
      ++tries;
      Trial trial = try_copy(family.base, options, renderer, seed, family.texture_seeds[i]);
      if (!trial.accepted) continue;
      family.copies[i] = std::move(trial.ifs);
      return;
    }
    fail(ErrorCode::degenerate_fractal, "Copy {} filled {} of its picture or less in each of {} tries; lower delta or fillThreshold, or raise maxImageTries", i,
         options.fill_threshold, options.max_image_tries);
  }, on_copy);
  family.image_tries = tries;
  return family;
}

}  // namespace

uint64_t texture_seed(uint64_t seed, int64_t image, int64_t epoch) {
  return derive_seed(seed, "texture", {static_cast<uint64_t>(image), static_cast<uint64_t>(epoch)});
}

Family make_family(const FamilyOptions& options, WorkerPool& pool, const std::function<void(int64_t done)>& on_copy) {
  check_options(options);
  const Renderer renderer(options.render);
  Family family;
  family.base = find_base(options, renderer, pool, family.base_tries);
  return draw_copies(std::move(family), options, renderer, pool, on_copy);
}

Family make_family_of(const Ifs& base, const FamilyOptions& options, WorkerPool& pool, const std::function<void(int64_t done)>& on_copy) {
  check_options(options);
  check_ifs(base);
  const Renderer renderer(options.render);
  Family family;
  family.base = base;
  return draw_copies(std::move(family), options, renderer, pool, on_copy);
}

}  // namespace seedbed::fractal
