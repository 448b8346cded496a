#include "train/sample_order.h"

#include <numeric>
#include <utility>

#include "tensor/rng.h"

namespace seedbed::train {

int64_t SampleOrder::operator[](int64_t position) {
  const auto size = static_cast<int64_t>(order_.size());
  if (position / size != epoch_) shuffle(position / size);
  return order_[static_cast<size_t>(position % size)];
}

void SampleOrder::shuffle(int64_t epoch) {
  epoch_ = epoch;
  std::iota(order_.begin(), order_.end(), int64_t{0});
  Rng rng(derive_seed(seed_, "order", {static_cast<uint64_t>(epoch)}));
  for (size_t i = order_.size(); i > 1; --i) std::swap(order_[i - 1], order_[rng.below(i)]);
}

}  // namespace seedbed::train
