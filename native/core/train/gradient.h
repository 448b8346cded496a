#pragma once

#include <vector>

#include "nn/lora.h"
#include "nn/vit.h"
#include "train/loop.h"

namespace seedbed::train {

// Mean soft-target cross-entropy of a batch, and its gradient: shards of `options.shard_size` images on the pool's threads.
// pixels: [B, C, H, W], labels: [B].
BatchGradient batch_gradient(const nn::VisionTransformer& model, const std::vector<at::Tensor>& parameters, const at::Tensor& pixels, const at::Tensor& labels,
                             const Mix& mix, const TrainOptions& options, int64_t step, WorkerPool& pool,
                             const nn::ActiveLoras* loras = nullptr);

}  // namespace seedbed::train
