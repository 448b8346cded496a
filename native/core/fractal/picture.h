#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <functional>
#include <vector>

#include "fractal/orbit.h"
#include "parallel/worker_pool.h"

namespace seedbed::fractal {

using Rgb = std::array<uint8_t, 3>;

enum class Tone { log, gamma };
enum class ColourBy { density, map };

struct PictureOptions {
  int64_t size = 2048;            // pixels, both sides, 16 to 8192
  int64_t points = 0;             // of all walks, at most 4e9; 0: 10 for each pixel
  int supersample = 2;            // counters in a pixel, along each side, 1 to 4
  double margin = 0.04;           // empty share of the side, at each side
  Aspect aspect = Aspect::keep;
  Tone tone = Tone::log;          // how densities become brightness
  double range = 100;             // log: the brightest density shown over the darkest one told from nothing
  double gamma = 2.2;             // gamma: brightness is density^(1/gamma)
  ColourBy colour_by = ColourBy::density;
  // density: colours from no density to full density, evenly spaced; map: the background, then colours along the hue of the maps
  std::vector<Rgb> palette{{0, 0, 0}, {255, 255, 255}};
  uint64_t seed = 0;
  int64_t memory = int64_t{1} << 30;  // bytes of counters at once; a larger picture is made in bands of rows, with a walk for each
};

// The density of a system's points as a picture [size, size, 3], uint8. Points come from a fixed number of walks with seeds of
// their own and are counted, so the bytes depend neither on threads nor on `memory`. A walk that leaves the numbers
// begins anew. `on_part(done, parts)` is called from worker threads, one at a time.
at::Tensor draw_picture(const Ifs& ifs, const PictureOptions& options, WorkerPool& pool, const std::function<void(int64_t done, int64_t parts)>& on_part = {});

}  // namespace seedbed::fractal
