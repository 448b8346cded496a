#include "train/batch_source.h"

#include <ATen/ATen.h>

#include "tensor/check.h"
#include "tensor/error.h"
#include "tensor/rng.h"

namespace seedbed::train {

BatchSource::BatchSource(const image::PictureSource& real, const image::PictureSource* synthetic, const BatchOptions& options)
    : real_(real), synthetic_(synthetic), o_(options), order_(real.size(), options.seed), synthetic_order_(synthetic == nullptr ? 1 : synthetic->size(), derive_seed(options.seed, "synthetic")) {
  check_range(o_.batch_size, "batchSize", 1, 65536);
  check_range(o_.real_weight, "realWeight", 0.0, 1.0);
  image::check_augment(o_.augment);
  if (synthetic == nullptr) return;
  expect(synthetic->classes() == real.classes(), "Expected synthetic data with the {} classes of the training data, received {}", real.classes(), synthetic->classes());
  expect(o_.batch_size >= 2, "Expected a batchSize of at least 2 with synthetic data, received {}", o_.batch_size);
}

LabelledBatch BatchSource::draw(int64_t step, WorkerPool& pool) {
  const int64_t B = o_.batch_size, real = synthetic_ == nullptr ? B : (B + 1) / 2;
  std::vector<int64_t> labels(B);
  LabelledBatch batch{.pixels = at::empty({B, 3, o_.image_size, o_.image_size}), .labels = {}, .weights = {}};
  draw_rows(real_, order_, step, 0, real, "augment", pool, batch, labels);
  if (synthetic_ != nullptr) {
    draw_rows(*synthetic_, synthetic_order_, step, real, B, "augment synthetic", pool, batch, labels);
    batch.weights = at::cat({at::full({real}, o_.real_weight / static_cast<double>(real)), at::full({B - real}, (1 - o_.real_weight) / static_cast<double>(B - real))});
  }
  batch.labels = at::tensor(labels, at::kLong);
  return batch;
}

void BatchSource::draw_rows(const image::PictureSource& from, SampleOrder& order, int64_t step, int64_t begin, int64_t end, std::string_view stream, WorkerPool& pool, LabelledBatch& batch, std::vector<int64_t>& labels) {
  const int64_t first = step * (end - begin), plane = 3 * o_.image_size * o_.image_size;
  std::vector<int64_t> places;
  for (int64_t i = begin; i < end; ++i) {
    places.push_back(order[first + i - begin]);
    labels[i] = from.label(places.back());
  }
  float* const out = batch.pixels.mutable_data_ptr<float>() + begin * plane;
  pool.run(end - begin, [&](int64_t i, int) {
    Rng rng(derive_seed(o_.seed, stream, {static_cast<uint64_t>(first + i)}));
    thread_local image::Image memory;
    const image::Image& picture = from.read(places[i], (first + i) / from.size(), memory);
    image::augment_to(picture, o_.augment, o_.normalisation, o_.image_size, rng, out + i * plane);
  });
}

at::Tensor weighted_cross_entropy(const LabelledBatch& batch, const at::Tensor& targets, const at::Tensor& logits, int64_t begin, int64_t end) {
  const at::Tensor likelihoods = targets * logits.to(at::kFloat).log_softmax(1);
  if (!batch.weights.defined()) return -likelihoods.sum() / batch.labels.size(0);
  return -(likelihoods.sum(1) * batch.weights.slice(0, begin, end)).sum();
}

}  // namespace seedbed::train
