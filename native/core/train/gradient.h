#pragma once

#include <vector>

#include "nn/batch_norm.h"
#include "nn/classifier_network.h"
#include "nn/lora.h"
#include "train/batch_source.h"
#include "train/loop.h"

namespace seedbed::train {

struct ClassifierGradient {
  BatchGradient gradient;
  std::vector<nn::BatchStatistics> statistics;  // of the shards
};

// Soft-target cross-entropy of a batch, its rows weighted, and its gradient: shards of `options.shard_size` images on the pool's threads, each
// with batch norms of its own, as in data-parallel training.
ClassifierGradient batch_gradient(const nn::ClassifierNetwork& model, const std::vector<at::Tensor>& parameters, const LabelledBatch& batch, const Mix& mix, const TrainOptions& options, int64_t step,
                                  WorkerPool& pool, const nn::ActiveLoras* loras = nullptr);

}  // namespace seedbed::train
