#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

namespace seedbed::nn {

// How a map is cut into overlapping tiles, and how long the same lengths are in the converted map.
struct Tiles {
  int64_t side = 64;     // of a tile, in units
  int64_t overlap = 16;  // of neighbours, in units, less than `side`
  int64_t before = 1;    // elements a unit has in the map
  int64_t after = 1;     // elements a unit has in the converted map
};

// A new map for one tile [B, C, h before, w before]: [B, C', h after, w after].
using Convert = std::function<at::Tensor(const at::Tensor&)>;

// `convert` tile by tile over x [B, C, H before, W before], neighbours faded into each other where they overlap:
// [B, C', H after, W after]. A map that fits into one tile is converted as a whole.
at::Tensor in_tiles(const at::Tensor& x, const Tiles& tiles, const Convert& convert);

}  // namespace seedbed::nn
