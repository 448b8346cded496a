#include "fractal/pictures.h"

#include <ATen/ops/from_blob.h>

#include <utility>

#include "fractal/family.h"
#include "tensor/check.h"
#include "tensor/error.h"
#include "tensor/rng.h"

namespace seedbed::fractal {

namespace {

// A perturbed system that lights less of its picture is not shown: that of the class is.
constexpr double kLeastFill = 0.05;

uint64_t mark(uint64_t print, const std::vector<double>& numbers) {
  return derive_seed(print, std::string_view(reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(double)));
}

}  // namespace

FractalPictures::FractalPictures(std::vector<Instance> instances, int64_t classes, const PicturesOptions& options, WorkerPool& pool, const std::function<void(int64_t done)>& on_image)
    : instances_(std::move(instances)), classes_(classes), storage_(options.storage), fresh_delta_(options.fresh_delta), renderer_(options.render) {
  const RenderOptions& render = options.render;
  check_range(fresh_delta_, "freshDelta", 0.0, 1.0);
  expect(fresh_delta_ == 0 || storage_ == Storage::fresh, "Expected storage 'fresh' with freshDelta: kept pictures are the same in every pass");
  expect(!render.colour, "Expected gray pictures to learn from, received colour");
  expect(!instances_.empty(), "Expected at least one fractal to train on, received none");
  for (const Instance& one : instances_) {
    check_ifs(one.ifs);
    check_range(one.label, "label", 0, classes_ - 1);
  }
  expect(storage_ != Storage::fresh || fresh_delta_ > 0 || (render.draw == Draw::patch && render.mask == Mask::random),
         "Expected draw 'patch' and mask 'random', or a freshDelta, with fresh pictures: nothing else differs from pass to pass");
  if (storage_ != Storage::resident) return;
  kept_.assign(instances_.size(), Bitmap(render.size));
  const auto keep = [&](int64_t i, int) {
    image::Image picture;
    draw(i, 0, picture);
    pack_flipped(picture.pixels.data(), kept_[static_cast<size_t>(i)]);
  };
  pool.run(size(), keep, on_image);
}

const image::Image& FractalPictures::read(int64_t place, int64_t pass, image::Image& memory) const {
  if (storage_ != Storage::resident) {
    draw(place, storage_ == Storage::fresh ? pass : 0, memory);
    return memory;
  }
  const Bitmap& bitmap = kept_[static_cast<size_t>(place)];
  image::reshape(memory, bitmap.size, bitmap.size, 1);
  expand_flipped(bitmap, renderer_.options().value, memory.pixels.data());
  return memory;
}

void FractalPictures::draw(int64_t place, int64_t pass, image::Image& memory) const {
  const Instance& instance = instances_[static_cast<size_t>(place)];
  const int64_t size = renderer_.options().size;
  image::reshape(memory, size, size, 1);
  const uint64_t seed = pass == 0 ? instance.texture_seed : fractal::texture_seed(instance.texture_seed, place, pass);
  if (pass == 0 || !draw_perturbed(instance.ifs, seed, memory)) renderer_.render(instance.ifs, seed, memory.pixels.data());
  flip_picture(at::from_blob(memory.pixels.data(), {size, size}, at::kByte), instance.flip);
}

bool FractalPictures::draw_perturbed(const Ifs& ifs, uint64_t seed, image::Image& memory) const {
  if (fresh_delta_ == 0) return false;
  Rng rng(derive_seed(seed, "fresh system"));
  return renderer_.render(perturb_ifs(ifs, {.delta = fresh_delta_}, rng), seed, memory.pixels.data()) > kLeastFill;
}

uint64_t FractalPictures::fingerprint() const {
  const RenderOptions& o = renderer_.options();
  uint64_t print = derive_seed(static_cast<uint64_t>(classes_), storage_ == Storage::fresh ? "fresh fractals" : "fractals",
                               {static_cast<uint64_t>(o.size), static_cast<uint64_t>(o.padding), static_cast<uint64_t>(o.points), o.index_seed, static_cast<uint64_t>(o.draw), static_cast<uint64_t>(o.texture),
                                static_cast<uint64_t>(o.mask), static_cast<uint64_t>(o.precision), static_cast<uint64_t>(o.start), static_cast<uint64_t>(o.aspect), o.value});
  if (fresh_delta_ > 0) print = mark(print, {fresh_delta_});
  for (const Instance& one : instances_) {
    print = derive_seed(mark(print, one.ifs.weights), "instance", {one.texture_seed, static_cast<uint64_t>(one.flip), static_cast<uint64_t>(one.label)});
    for (const auto& map : one.ifs.affine) print = mark(print, {map.begin(), map.end()});
  }
  return print;
}

int64_t FractalPictures::bytes() const {
  int64_t total = 0;
  for (const Bitmap& bitmap : kept_) total += static_cast<int64_t>(bitmap.words.size() * sizeof(uint64_t));
  return total;
}

}  // namespace seedbed::fractal
