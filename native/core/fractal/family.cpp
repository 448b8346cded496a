#include "fractal/family.h"

#include <atomic>
#include <limits>
#include <optional>

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

// The copies of family.base; the number of one that was too sparse at every try, if there was one.
std::optional<int64_t> draw_copies(Family& family, const FamilyOptions& options, const Renderer& renderer, WorkerPool& pool, const std::function<void(int64_t)>& on_copy) {
  family.copies.assign(options.count, {});
  family.texture_seeds.clear();
  for (int64_t i = 0; i < options.count; ++i) family.texture_seeds.push_back(texture_seed(options.seed, i));
  constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
  std::atomic<int64_t> tries{0}, sparse{kNone};
  const auto draw = [&](int64_t i) {
    for (int attempt = 0; attempt < options.max_image_tries; ++attempt) {
      const uint64_t seed = derive_seed(options.seed, "copy", {static_cast<uint64_t>(i), static_cast<uint64_t>(attempt)});
      ++tries;
      Trial trial = try_copy(family.base, options, renderer, seed, family.texture_seeds[i]);
      if (!trial.accepted) continue;
      family.copies[i] = std::move(trial.ifs);
      return true;
    }
    return false;
  };
  pool.run(options.count, [&](int64_t i, int) {
    if (sparse == kNone && !draw(i)) sparse = i;
  }, on_copy);
  family.image_tries = tries;
  return sparse == kNone ? std::nullopt : std::optional(sparse.load());
}

}  // namespace

uint64_t texture_seed(uint64_t seed, int64_t image, int64_t epoch) {
  return derive_seed(seed, "texture", {static_cast<uint64_t>(image), static_cast<uint64_t>(epoch)});
}

Family make_family(const FamilyOptions& options, WorkerPool& pool, const std::function<void(int64_t done)>& on_copy) {
  check_options(options);
  const Renderer renderer(options.render);
  Family family;
  for (family.base_tries = 1; family.base_tries <= options.max_base_tries; ++family.base_tries) {
    Rng rng(derive_seed(options.seed, "base", {static_cast<uint64_t>(family.base_tries)}));
    family.base = sample_ifs(options.sample, rng);
    if (passes_probes(family.base, options, renderer, pool) && !draw_copies(family, options, renderer, pool, on_copy)) return family;
  }
  fail(ErrorCode::degenerate_fractal,
       "None of {} systems with sigmaFactor {} filled more than {} of its picture in {} of {} perturbed copies, and then in each of {} copies within {} tries; raise sigmaFactor, or lower delta or fillThreshold",
       options.max_base_tries, options.sample.sigma_factor, options.fill_threshold, options.probe_share, options.probes, options.count, options.max_image_tries);
}

Family make_family_of(const Ifs& base, const FamilyOptions& options, WorkerPool& pool, const std::function<void(int64_t done)>& on_copy) {
  check_options(options);
  check_ifs(base);
  const Renderer renderer(options.render);
  Family family;
  family.base = base;
  if (const auto sparse = draw_copies(family, options, renderer, pool, on_copy))
    fail(ErrorCode::degenerate_fractal, "Copy {} filled {} of its picture or less in each of {} tries; lower delta or fillThreshold, or raise maxImageTries", *sparse, options.fill_threshold, options.max_image_tries);
  return family;
}

}  // namespace seedbed::fractal
