#pragma once

#include <algorithm>
#include <cstdint>

#include "fractal/orbit_frame.h"
#include "fractal/walk.h"

namespace seedbed::fractal {

// A coordinate v lies at (v - low) * scale + offset, in sides of the picture.
struct Axis {
  double low = 0, scale = 0, offset = 0;

  Axis() = default;
  Axis(const AxisPlacement& placed, double side) : low(placed.low), scale(placed.extent > 0 ? placed.inner / placed.extent / side : 0.0), offset(placed.offset / side) {}

  // The cell of a coordinate, of `cells` along the side; -1 outside.
  int64_t cell(double value, int64_t cells) const {
    const double place = (value - low) * scale + offset;
    return place >= 0 && place <= 1 ? std::min(static_cast<int64_t>(place * static_cast<double>(cells)), cells - 1) : -1;
  }
};

// Where the points of a system lie in a picture, and how dense they are.
struct View {
  Axis x, y;
  double white = 1;  // points that make full brightness, where the mean is one point
};

// Frames and exposes a system by a survey of its points, whose number does not depend on the picture's size. Points far out, which systems with
// expanding maps have, are left out of the frame. `frame` counts cells of any size.
View choose_view(const Ifs& ifs, const MapDraw& draw, uint64_t seed, const Frame& frame);

}  // namespace seedbed::fractal
