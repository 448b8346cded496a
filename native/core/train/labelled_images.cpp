#include "train/labelled_images.h"

#include <string_view>

#include "tensor/check.h"
#include "tensor/error.h"
#include "tensor/rng.h"

namespace seedbed::train {

void check_labelled_images(const LabelledImages& data, const char* name) {
  expect(data.size() > 0, "Expected at least one image in {}, received none", name);
  expect(data.labels.size() == data.images.size(), "Expected {} labels in {}, received {}", data.size(), name, data.labels.size());
  for (int64_t label : data.labels) check_range(label, "label", 0, data.classes - 1);
  for (const image::Image& picture : data.images)
    expect((picture.channels == 1 || picture.channels == 3) && picture.width > 0 && picture.height > 0, "Expected gray or RGB images in {}, received {} x {} x {}", name,
           picture.width, picture.height, picture.channels);
}

uint64_t fingerprint(const LabelledImages& data) {
  uint64_t print = derive_seed(static_cast<uint64_t>(data.classes), "images");
  for (int64_t i = 0; i < data.size(); ++i) {
    const image::Image& picture = data.images[i];
    const std::string_view bytes(reinterpret_cast<const char*>(picture.pixels.data()), picture.pixels.size());
    print = derive_seed(print, bytes, {static_cast<uint64_t>(data.labels[i]), static_cast<uint64_t>(picture.width), static_cast<uint64_t>(picture.channels)});
  }
  return print;
}

}  // namespace seedbed::train
