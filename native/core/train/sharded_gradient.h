#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "parallel/worker_pool.h"

namespace seedbed::train {

// Loss of a batch and its gradient.
struct BatchGradient {
  double loss = 0;
  std::vector<at::Tensor> gradients;  // in the order of the parameters; some may share memory: change none in place
  double norm = 0;                    // Euclidean, of all gradients together
  int64_t samples = 0;                // rows of the batch
};

// Rows [begin, end) of a batch.
struct Shard {
  int64_t index, begin, end;
  int64_t size() const { return end - begin; }
};

// A batch cut into parts of nearly equal length.
struct Shards {
  int64_t rows, count;

  static Shards of_size(int64_t rows, int64_t most) { return {rows, (rows + most - 1) / most}; }
  Shard operator[](int64_t i) const { return {i, i * rows / count, (i + 1) * rows / count}; }
};

// A shard's part of the loss, with gradients recorded: the parts of all shards add up to the batch's loss. Called on the pool's
// threads, or on the caller's when there is one shard.
using ShardLoss = std::function<at::Tensor(const Shard& shard)>;

// Threads compute the shards' gradients, which are added in order: the same bytes for any number of threads. A single shard runs
// on the calling thread, with libtorch's threads inside. Parameters that took no part have a gradient of zeros.
BatchGradient sharded_gradient(const std::vector<at::Tensor>& parameters, const Shards& shards, WorkerPool& pool, const ShardLoss& loss);

// Of two batches together.
BatchGradient sum_of(const BatchGradient& a, const BatchGradient& b);

// The same in two phases, for a loss that needs the outputs of all shards: `forward(shard)` gives outputs, `loss(outputs)` is computed
// on the calling thread from all of them, [shard] each, and its gradient handed back through the shards. The first `recomputed` shards
// keep nothing in between: they run once more for their gradients (GradCache, Gao et al. 2021, arXiv 2101.06983), with the same bytes.
using ShardOutputs = std::function<std::vector<at::Tensor>(const Shard& shard)>;
using JointLoss = std::function<at::Tensor(const std::vector<std::vector<at::Tensor>>& outputs)>;
BatchGradient joint_gradient(const std::vector<at::Tensor>& parameters, const Shards& shards, WorkerPool& pool, const ShardOutputs& forward, const JointLoss& loss,
                             int64_t recomputed = 0);

}  // namespace seedbed::train
