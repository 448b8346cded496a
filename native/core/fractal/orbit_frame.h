#pragma once

#include <array>

#include "fractal/orbit.h"
#include "fractal/orbit_kernel.h"

namespace seedbed::fractal {

// (0, 0), or the fixed point of the first map, (I - A_0)^-1 b_0; (0, 0) when that does not exist.
std::array<double, 2> start_point(const Ifs& ifs, Start start);

// A coordinate v lies at pixel (v - low) / extent * inner + offset.
struct AxisPlacement {
  double low, extent, inner, offset;
};

struct Range {
  double low, high;
};

// Fits the bounding box of an orbit into the frame; an axis without extent lies at its padding.
std::array<AxisPlacement, 2> place_axes(Range x, Range y, const Frame& frame);

// The same in single precision, for the fast orbits.
PixelMap make_pixel_map(Range x, Range y, const Frame& frame);

// The maps in single precision.
OrbitTables make_tables(const Ifs& ifs);

}  // namespace seedbed::fractal
