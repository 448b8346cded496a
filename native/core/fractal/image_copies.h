#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "image/image.h"
#include "parallel/worker_pool.h"

namespace seedbed::fractal {

struct CopyOptions {
  double delta = 0.4;  // 0 to 1: how far a copy may differ
  int64_t first = 0;   // copies first .. first + count - 1
  int64_t count = 1000;
  uint64_t seed = 0;
};

// Perturbed copies of one square picture in place of a fractal's (the real-image study of 1p-frac; its parameters were not published, these are ours): copy i is the picture under the affine
// map I + U(-delta / 2, delta / 2) in each of the four numbers, about the middle, moved by U(-delta / 2, delta / 2) of half a side; bicubic, black beyond it. uint8 [count, side, side, channels].
// A copy depends on its number and `seed` alone. `on_image(done)` is called from worker threads, one at a time.
at::Tensor draw_image_copies(const image::Image& square, const CopyOptions& options, WorkerPool& pool, const std::function<void(int64_t done)>& on_image = {});

}  // namespace seedbed::fractal
