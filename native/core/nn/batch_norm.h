#pragma once

#include <vector>

#include "nn/forward.h"
#include "nn/module.h"

namespace seedbed::nn {

// Normalises each channel of a feature map by its mean and variance over batch and positions (Ioffe & Szegedy 2015), in evaluation by
// their running averages. Parameters and buffers as torch.nn.BatchNorm2d: momentum 0.1, eps 1e-5.
class BatchNorm2d : public Module {
 public:
  explicit BatchNorm2d(int64_t channels);
  // [B, C, H, W]. In training the running averages stay as they are and the batch's go into `forward.statistics`. Throws
  // ERR_INVALID_ARGUMENT when there is one value a channel, which has no variance.
  at::Tensor operator()(const at::Tensor& x, const Forward& forward) const;

  at::Tensor weight;  // [C]
  at::Tensor bias;    // [C]

 private:
  friend class BatchStatistics;

  at::Tensor running_mean_;        // [C]
  at::Tensor running_var_;         // [C], of samples: divided by n - 1
  at::Tensor num_batches_tracked_;  // [], int64
};

// What the batch norms of a network measured in one forward pass, in the order of their calls.
class BatchStatistics {
 public:
  // Moves the running averages of all layers towards the mean of what the parts of a batch measured, added in order: one move a
  // step, as a batch in one part makes it.
  static void update_running(const std::vector<BatchStatistics>& parts);

 private:
  friend class BatchNorm2d;

  struct Measured {
    const BatchNorm2d* layer;
    at::Tensor mean;  // [C]
    at::Tensor var;   // [C], of samples
  };
  std::vector<Measured> layers_;
};

}  // namespace seedbed::nn
