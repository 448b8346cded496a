#pragma once

#include <vector>

#include "image/picture_source.h"

namespace seedbed::train {

// Pictures in memory with a class each.
class LabelledImages final : public image::PictureSource {
 public:
  // Throws ERR_INVALID_ARGUMENT unless there is at least one image, gray or RGB, and as many labels, all within `classes`.
  LabelledImages(std::vector<image::Image> images, std::vector<int64_t> labels, int64_t classes);

  int64_t size() const override { return static_cast<int64_t>(images_.size()); }
  int64_t classes() const override { return classes_; }
  int64_t label(int64_t place) const override { return labels_[static_cast<size_t>(place)]; }
  const image::Image& read(int64_t place, int64_t pass, image::Image& memory) const override;
  uint64_t fingerprint() const override;
  int64_t bytes() const override;

 private:
  std::vector<image::Image> images_;
  std::vector<int64_t> labels_;
  int64_t classes_;
};

}  // namespace seedbed::train
