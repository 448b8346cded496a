#include "image_set.h"

#include <ATen/core/Tensor.h>

#include <algorithm>

namespace seedbed::binding {

int64_t ImageSet::bytes() const {
  int64_t total = 0;
  for (const image::Image& picture : data.images) total += static_cast<int64_t>(picture.pixels.size());
  return total;
}

std::shared_ptr<ImageSet> image_set_of(const at::Tensor& images) {
  auto set = std::make_shared<ImageSet>();
  const int64_t count = images.size(0), height = images.size(1), width = images.size(2);
  const auto* pixels = images.const_data_ptr<uint8_t>();
  set->data.classes = count;
  for (int64_t i = 0; i < count; ++i) {
    image::Image& picture = set->data.images.emplace_back(width, height, 1);
    std::copy_n(pixels + i * height * width, height * width, picture.pixels.begin());
    set->data.labels.push_back(i);
  }
  return set;
}

}  // namespace seedbed::binding
