#pragma once

#include <vector>

#include "nn/lora.h"
#include "nn/vit.h"
#include "train/batch_source.h"
#include "train/loop.h"

namespace seedbed::train {

// Soft-target cross-entropy of a batch, its rows weighted, and its gradient: shards of `options.shard_size` images on the pool's threads.
BatchGradient batch_gradient(const nn::VisionTransformer& model, const std::vector<at::Tensor>& parameters, const LabelledBatch& batch, const Mix& mix, const TrainOptions& options, int64_t step,
                             WorkerPool& pool, const nn::ActiveLoras* loras = nullptr);

}  // namespace seedbed::train
