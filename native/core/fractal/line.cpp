#include "fractal/line.h"

#include <algorithm>
#include <cstdlib>

namespace seedbed::fractal {

void draw_line(Place from, Place to, uint8_t value, int64_t size, uint8_t* pixels) {
  if (std::max(from.x, to.x) < 0 || std::max(from.y, to.y) < 0 || std::min(from.x, to.x) >= size || std::min(from.y, to.y) >= size) return;
  const int32_t across = std::abs(to.x - from.x), down = -std::abs(to.y - from.y);
  const int32_t step_x = from.x < to.x ? 1 : -1, step_y = from.y < to.y ? 1 : -1;
  int32_t error = across + down;
  while (true) {
    if (from.x >= 0 && from.x < size && from.y >= 0 && from.y < size) pixels[from.y * size + from.x] = value;
    if (from.x == to.x && from.y == to.y) return;
    const int32_t twice = 2 * error;
    if (twice >= down) {
      error += down;
      from.x += step_x;
    }
    if (twice <= across) {
      error += across;
      from.y += step_y;
    }
  }
}

}  // namespace seedbed::fractal
