#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "parallel/worker_pool.h"

namespace seedbed::fractal {

enum class ContourSet { rcdb, visualatom };

// A category of contours: closed polygons around one centre, each the one before with its vertices moved outwards.
// Lengths are pixels of a picture of 512 x 512.
struct ContourClass {
  ContourSet set = ContourSet::rcdb;
  int vertices = 3;         // of each polygon, 3 to 4096
  int lines = 1;            // polygons, 1 to 1000
  double coefficient = 0;   // share of the noise in a step outwards, 0 to 10
  double width = 0;         // constant share, 0 to 1
  int frequency_1 = 0;      // VisualAtom: waves around the centre, 0 to 1000
  int frequency_2 = 0;
  uint64_t seed = 0;        // its pictures follow from it
};

// Categories first .. first + count - 1 of a set, as the released codes draw them (Kataoka et al., CVPR 2022; Takashima et
// al., CVPR 2023). A category depends on its place and `seed` alone.
std::vector<ContourClass> draw_contour_classes(ContourSet set, int64_t first, int64_t count, uint64_t seed);

struct ContourOptions {
  int64_t size = 512;          // pixels, both sides, 16 to 8192; lengths grow with it
  int64_t first_instance = 0;  // instances first_instance .. first_instance + instances - 1 of each category
  int64_t instances = 1;
};

// Gray pictures [classes x instances, size, size], uint8, without anti-aliasing: RCDB on white, VisualAtom on black. An
// instance has a radius, an oval and (RCDB) a centre of its own. The bytes do not depend on the number of threads.
// `on_image(done)` is called from worker threads, one at a time.
at::Tensor draw_contours(const std::vector<ContourClass>& classes, const ContourOptions& options, WorkerPool& pool, const std::function<void(int64_t done)>& on_image = {});

}  // namespace seedbed::fractal
