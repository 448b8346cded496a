#pragma once

#include <napi.h>

#include <memory>

#include "image/picture_source.h"

namespace seedbed::binding {

// Labelled pictures to train on, in native memory or drawn when they are read.
struct ImageSet {
  static constexpr const char* kTypeName = "image set";
  static constexpr napi_type_tag kTypeTag{0x6c1d2f0a93b84e57, 0xa1f35d9270c64b18};

  std::shared_ptr<const image::PictureSource> pictures;
};

// Those of a set that may be missing.
const image::PictureSource* pictures_of(const std::shared_ptr<ImageSet>& set);

Napi::Value emit_image_set(Napi::Env env, std::shared_ptr<const image::PictureSource> pictures);

}  // namespace seedbed::binding
