#pragma once

#include <vector>

#include "nn/vit.h"
#include "train/loop.h"

namespace seedbed::train {

// Mean soft-target cross-entropy of a batch and its gradient.
struct BatchGradient {
  double loss = 0;
  std::vector<at::Tensor> gradients;  // in the order of the model's parameters
  double norm = 0;                    // Euclidean, of all gradients together
};

// Computes shards of `options.shard_size` images on the pool's threads and adds them in order.
// pixels: [B, C, H, W], labels: [B].
BatchGradient batch_gradient(const nn::VisionTransformer& model, const std::vector<at::Tensor>& parameters, const at::Tensor& pixels, const at::Tensor& labels,
                             const Mix& mix, const TrainOptions& options, int64_t step, WorkerPool& pool);

}  // namespace seedbed::train
