#pragma once

#include <cstdint>

#include "image/image.h"

namespace seedbed::image {

// Pictures with a class each, read one by one: they may lie in memory or be drawn when they are asked for.
class PictureSource {
 public:
  virtual ~PictureSource() = default;

  virtual int64_t size() const = 0;
  virtual int64_t classes() const = 0;
  virtual int64_t label(int64_t place) const = 0;  // in [0, classes)
  // Picture `place` as pass `pass` (0, 1, ...) over all of them shows it, perhaps drawn into `memory`. Safe to call from many threads.
  virtual const Image& read(int64_t place, int64_t pass, Image& memory) const = 0;
  // A number that differs when any picture, label or their order does.
  virtual uint64_t fingerprint() const = 0;
  // Memory that the pictures take.
  virtual int64_t bytes() const = 0;
};

}  // namespace seedbed::image
