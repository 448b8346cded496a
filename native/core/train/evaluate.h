#pragma once

#include <functional>

#include "image/augment.h"
#include "image/picture_source.h"
#include "nn/classifier_network.h"
#include "nn/lora.h"
#include "parallel/worker_pool.h"

namespace seedbed::train {

// How pictures are prepared when nothing is random.
struct View {
  double crop_share = 1;  // of the resized picture that the centre crop shows
  image::Normalisation normalisation;
};

// Class scores (before the softmax) [N, K], float32. Batches of 64 are spread over the pool; a picture's scores do not
// depend on the number of threads. `on_batch` is called before each batch, on any thread, and may throw `Cancelled`.
at::Tensor predict_logits(const nn::ClassifierNetwork& model, const std::vector<image::ImageView>& images, const View& view, WorkerPool& pool,
                          const std::function<void()>& on_batch = {}, const nn::ActiveLoras* loras = nullptr);

struct Evaluation {
  double loss = 0;          // mean cross-entropy, nats
  double accuracy = 0;      // share of right answers
  std::vector<int64_t> predictions;  // [N]
};

Evaluation evaluate(const nn::ClassifierNetwork& model, const image::PictureSource& data, const View& view, WorkerPool& pool, const std::function<void()>& on_batch = {},
                    const nn::ActiveLoras* loras = nullptr);

}  // namespace seedbed::train
