#pragma once

#include <functional>
#include <vector>

#include "fractal/bitmap.h"
#include "fractal/instances.h"
#include "fractal/render.h"
#include "image/picture_source.h"

namespace seedbed::fractal {

// A picture as numbers.
struct Instance {
  Ifs ifs;
  uint64_t texture_seed = 0;
  Flip flip = Flip::none;
  int64_t label = 0;
};

enum class Storage {
  resident,   // drawn once and kept, a bit for each pixel
  on_demand,  // drawn at each reading
  fresh,      // drawn at each reading, in every pass anew
};

struct PicturesOptions {
  RenderOptions render;
  Storage storage = Storage::resident;
  double fresh_delta = 0;  // of fresh pictures the numbers of a system are also multiplied by U(1 - fresh_delta, 1 + fresh_delta), in [0, 1]
};

// Fractal pictures to train on, without files. Pass 0 shows the same pictures in each kind of storage.
class FractalPictures final : public image::PictureSource {
 public:
  // Throws ERR_INVALID_ARGUMENT for no instances, labels outside [0, classes), and fresh pictures without random patches or a fresh_delta. `on_image(done)` as for Renderer.
  FractalPictures(std::vector<Instance> instances, int64_t classes, const PicturesOptions& options, WorkerPool& pool, const std::function<void(int64_t done)>& on_image = {});

  int64_t size() const override { return static_cast<int64_t>(instances_.size()); }
  int64_t classes() const override { return classes_; }
  int64_t label(int64_t place) const override { return instances_[static_cast<size_t>(place)].label; }
  const image::Image& read(int64_t place, int64_t pass, image::Image& memory) const override;
  uint64_t fingerprint() const override;
  int64_t bytes() const override;

 private:
  void draw(int64_t place, int64_t pass, image::Image& memory) const;
  // Whether a perturbed copy was drawn, and is full enough to be seen.
  bool draw_perturbed(const Ifs& ifs, uint64_t seed, image::Image& memory) const;

  std::vector<Instance> instances_;
  int64_t classes_;
  Storage storage_;
  double fresh_delta_;
  Renderer renderer_;
  std::vector<Bitmap> kept_;  // [instances] for `resident`
};

}  // namespace seedbed::fractal
