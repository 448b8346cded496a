#pragma once

#include <cstdint>
#include <vector>

namespace seedbed::train {

// The order of examples: one permutation per epoch, end to end, so that batches may span epochs and any batch size works.
class SampleOrder {
 public:
  SampleOrder(int64_t size, uint64_t seed) : seed_(seed), order_(static_cast<size_t>(size)) {}

  // The example at a place of the whole run, counted from 0.
  int64_t operator[](int64_t position);

 private:
  void shuffle(int64_t epoch);

  uint64_t seed_;
  int64_t epoch_ = -1;
  std::vector<int64_t> order_;
};

}  // namespace seedbed::train
