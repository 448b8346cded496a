#pragma once

#include <cstdint>
#include <vector>

#include "image/image.h"

namespace seedbed::train {

// Pictures in memory with a class each.
struct LabelledImages {
  std::vector<image::Image> images;
  std::vector<int64_t> labels;  // [N], in [0, classes)
  int64_t classes = 0;

  int64_t size() const { return static_cast<int64_t>(images.size()); }
};

// Throws ERR_INVALID_ARGUMENT unless there is at least one image, as many labels, all within `classes`.
void check_labelled_images(const LabelledImages& data, const char* name);

// A number that differs when any pixel, size, label or their order does.
uint64_t fingerprint(const LabelledImages& data);

}  // namespace seedbed::train
