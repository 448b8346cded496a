#pragma once

#include <cstdint>

namespace seedbed::fractal {

struct Place {
  int32_t x, y;
};

// A line of one pixel without anti-aliasing, both ends included (Bresenham 1965), into `pixels` [size, size]; what lies
// outside is left out.
void draw_line(Place from, Place to, uint8_t value, int64_t size, uint8_t* pixels);

}  // namespace seedbed::fractal
