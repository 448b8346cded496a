#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "fractal/orbit.h"
#include "parallel/worker_pool.h"
#include "tensor/vector_code.h"

namespace seedbed::fractal {

enum class Draw { point, patch };
enum class Texture { iid, paste };
enum class Mask { random, fill };
enum class Precision { fast, exact };

// Defaults are those of the released 1p-frac code, `texture` and `precision` apart.
struct RenderOptions {
  int64_t size = 512;                     // pixels, both sides; 16 to 8192
  int64_t padding = 6;                    // empty pixels at each side
  int64_t points = 100'000;               // P, the start point included
  uint32_t index_seed = 100;              // seed of the frozen index sequence
  Draw draw = Draw::patch;
  Texture texture = Texture::iid;         // iid: one coin per covered pixel; paste: patches over each other, in order
  Mask mask = Mask::random;               // fill: patches are solid
  Precision precision = Precision::fast;  // exact: double precision, one point after the other
  Start start = Start::origin;
  Aspect aspect = Aspect::stretch;
  uint8_t value = 127;                    // gray level of lit pixels, 1 to 255
  bool colour = false;                    // FractalDB's colours by the points' order, in place of `value`; texture and precision are then paste and exact
  VectorCode code = vector_codes().front();  // that draws: all give the same bytes
};

// Renders systems by the chaos game.
class Renderer {
 public:
  // Throws ERR_INVALID_ARGUMENT for options out of range.
  explicit Renderer(const RenderOptions& options);

  const RenderOptions& options() const { return options_; }

  int64_t channels() const { return options_.colour ? 3 : 1; }

  // One picture [size, size] of 0 and `value`, with `colour` [size, size, 3], into `pixels`. `texture_seed` decides the patches. Returns the share of
  // lit pixels. Safe to call from many threads.
  double render(const Ifs& ifs, uint64_t texture_seed, uint8_t* pixels) const;

  // [count, size, size] or [count, size, size, 3]
  std::vector<int64_t> shape(int64_t count) const;

  // Pictures of that shape, uint8, into `images`. Image i has texture_seeds[i]; the bytes do not depend on the number of threads.
  // `on_image(done)` is called from worker threads, one at a time.
  void render_all(const std::vector<Ifs>& systems, const std::vector<uint64_t>& texture_seeds, WorkerPool& pool, at::Tensor& images, const std::function<void(int64_t done)>& on_image = {}) const;

 private:
  RenderOptions options_;
};

}  // namespace seedbed::fractal
