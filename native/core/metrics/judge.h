#pragma once

#include <functional>

#include "nn/squeezenet.h"
#include "parallel/worker_pool.h"

// What a network that had no part in training sees on pictures.

namespace seedbed::metrics {

// On pictures [N, H, W, 3], uint8, each resized to the network's square as a whole: features [N, 512], logits [N, 1000], float32.
// Batches are spread over the pool; a picture's features do not depend on the number of threads. `on_batch` is called after each batch with the
// pictures that are done, on any thread, and may throw `Cancelled`.
nn::SqueezeNetOutput judge(const nn::SqueezeNet& network, const at::Tensor& pictures, WorkerPool& pool, const std::function<void(int64_t done)>& on_batch = {});

}  // namespace seedbed::metrics
