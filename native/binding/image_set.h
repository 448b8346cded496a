#pragma once

#include <napi.h>

#include <memory>

#include "train/labelled_images.h"

namespace seedbed::binding {

// Labelled pictures in native memory, to train on.
struct ImageSet {
  static constexpr const char* kTypeName = "image set";
  static constexpr napi_type_tag kTypeTag{0x6c1d2f0a93b84e57, 0xa1f35d9270c64b18};

  int64_t bytes() const;

  train::LabelledImages data;
};

// Gray pictures [N, H, W], uint8, each its own class.
std::shared_ptr<ImageSet> image_set_of(const at::Tensor& images);

}  // namespace seedbed::binding
