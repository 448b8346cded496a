#pragma once

#include <functional>
#include <vector>

#include "fractal/render.h"

namespace seedbed::fractal {

struct FamilyOptions {
  SampleOptions sample;
  PerturbOptions perturb;
  RenderOptions render;
  int64_t count = 1000;           // L, perturbed copies
  double fill_threshold = 0.05;   // the share of lit pixels must exceed this
  int probes = 16;                // perturbed copies tried on a base system ...
  double probe_share = 0.25;      // ... of which this share must pass, or the base is replaced
  int max_base_tries = 200;
  int max_image_tries = 50;
  uint64_t seed = 0;
};

// One base system and L accepted perturbations of it: the 1p-frac data set as numbers.
struct Family {
  Ifs base;
  std::vector<Ifs> copies;              // [L]
  std::vector<uint64_t> texture_seeds;  // [L]
  int base_tries = 0;                   // base systems drawn, the accepted one included
  int64_t image_tries = 0;              // perturbations drawn for all copies of it
};

// The seed of the patches of image i; a fresh texture for the same shape needs only another `epoch`.
uint64_t texture_seed(uint64_t seed, int64_t image, int64_t epoch = 0);

// Draws the base system and its copies. The released code redraws rejected copies for ever; here a base is replaced whose copies
// are mostly too sparse, or of which one is at every try, and ERR_DEGENERATE_FRACTAL is thrown after `max_base_tries`.
// `on_copy(done)` is called from worker threads, one at a time; it counts from 1 again for a new base.
Family make_family(const FamilyOptions& options, WorkerPool& pool, const std::function<void(int64_t done)>& on_copy = {});

// Perturbations of a given base system.
Family make_family_of(const Ifs& base, const FamilyOptions& options, WorkerPool& pool, const std::function<void(int64_t done)>& on_copy = {});

}  // namespace seedbed::fractal
