#include "train/labelled_images.h"

#include <string_view>
#include <utility>

#include "tensor/check.h"
#include "tensor/error.h"
#include "tensor/rng.h"

namespace seedbed::train {

LabelledImages::LabelledImages(std::vector<image::Image> images, std::vector<int64_t> labels, int64_t classes) : images_(std::move(images)), labels_(std::move(labels)), classes_(classes) {
  expect(size() > 0, "Expected at least one image, received none");
  expect(labels_.size() == images_.size(), "Expected {} labels, one for each image, received {}", size(), labels_.size());
  for (int64_t label : labels_) check_range(label, "label", 0, classes_ - 1);
  for (const image::Image& picture : images_)
    expect((picture.channels == 1 || picture.channels == 3) && picture.width > 0 && picture.height > 0, "Expected gray or RGB images, received {} x {} x {}", picture.width, picture.height,
           picture.channels);
}

const image::Image& LabelledImages::read(int64_t place, int64_t /*pass*/, image::Image& /*memory*/) const { return images_[static_cast<size_t>(place)]; }

uint64_t LabelledImages::fingerprint() const {
  uint64_t print = derive_seed(static_cast<uint64_t>(classes_), "images");
  for (size_t i = 0; i < images_.size(); ++i) {
    const image::Image& picture = images_[i];
    const std::string_view bytes(reinterpret_cast<const char*>(picture.pixels.data()), picture.pixels.size());
    print = derive_seed(print, bytes, {static_cast<uint64_t>(labels_[i]), static_cast<uint64_t>(picture.width), static_cast<uint64_t>(picture.channels)});
  }
  return print;
}

int64_t LabelledImages::bytes() const {
  int64_t total = 0;
  for (const image::Image& picture : images_) total += static_cast<int64_t>(picture.pixels.size());
  return total;
}

}  // namespace seedbed::train
