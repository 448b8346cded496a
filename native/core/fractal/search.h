#pragma once

#include <functional>
#include <vector>

#include "fractal/render.h"

namespace seedbed::fractal {

// Of `render`: size, padding, points, index_seed, precision, start and aspect; candidates are drawn as points.
struct SearchOptions {
  RenderOptions render;
  int64_t count = 1000;         // systems to find: categories
  int min_maps = 2;             // N is drawn uniformly from min_maps .. max_maps, both at most kMaxMaps
  int max_maps = 7;
  double fill_threshold = 0.2;  // the share of lit pixels must reach this
  int64_t max_tries = 0;        // candidates drawn in all; 0: 1000 for each system to find
  uint64_t seed = 0;
};

struct Search {
  std::vector<Ifs> systems;   // [count], in the order of their candidates
  std::vector<double> fills;  // [count], shares of lit pixels
  int64_t tries = 0;          // candidates up to the last accepted one
};

// The category search of FractalDB (Kataoka et al., ACCV 2020): all 6 N numbers U(-1, 1), chances by |det|, no test of
// contraction. Each candidate has a seed of its own: the result does not depend on the number of threads, and a longer
// search begins with the shorter one. Throws ERR_DEGENERATE_FRACTAL after `max_tries`. `on_found(found)` is called between candidates.
Search search_systems(const SearchOptions& options, WorkerPool& pool, const std::function<void(int64_t found)>& on_found = {});

}  // namespace seedbed::fractal
