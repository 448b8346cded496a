#pragma once

#include <ATen/core/Tensor.h>

#include "image/augment.h"
#include "image/picture_source.h"
#include "parallel/worker_pool.h"
#include "train/sample_order.h"

namespace seedbed::train {

struct LabelledBatch {
  at::Tensor pixels;   // [B, 3, S, S] normalised
  at::Tensor labels;   // [B]
  at::Tensor weights;  // [B] of the rows in the loss; undefined: 1 / B each
};

struct BatchOptions {
  int64_t batch_size = 64;
  image::AugmentOptions augment{};
  image::Normalisation normalisation{};
  int64_t image_size = 32;
  double real_weight = 0.8;  // with synthetic pictures: of the real half of each batch in the loss
  uint64_t seed = 0;
};

// Augmented batches of a run. With `synthetic` (may be null), half of each batch is real, half of that, and `real_weight` and the rest of 1 are the
// weights of the halves (DataDream, arXiv 2407.10910, which repeats the real pictures instead). A batch is a function of seed and step.
class BatchSource {
 public:
  // Throws ERR_INVALID_ARGUMENT. The pictures must outlive it.
  BatchSource(const image::PictureSource& real, const image::PictureSource* synthetic, const BatchOptions& options);

  LabelledBatch draw(int64_t step, WorkerPool& pool);

 private:
  void draw_rows(const image::PictureSource& from, SampleOrder& order, int64_t step, int64_t begin, int64_t end, std::string_view stream, WorkerPool& pool, LabelledBatch& batch, std::vector<int64_t>& labels);

  const image::PictureSource& real_;
  const image::PictureSource* const synthetic_;
  BatchOptions o_;
  SampleOrder order_, synthetic_order_;
};

// Soft-target cross-entropy of rows [begin, end) of a batch: their part of its loss. targets [end - begin, K], logits the same.
at::Tensor weighted_cross_entropy(const LabelledBatch& batch, const at::Tensor& targets, const at::Tensor& logits, int64_t begin, int64_t end);

}  // namespace seedbed::train
