#include "train/evaluate.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

namespace seedbed::train {

namespace {

constexpr int64_t kBatch = 64;

// `read(i, memory)` gives picture i.
template <typename Read>
at::Tensor logits_of(const nn::ClassifierNetwork& model, int64_t count, const Read& read, const View& view, WorkerPool& pool, const std::function<void()>& on_batch, const nn::ActiveLoras* loras) {
  const int64_t size = model.image_size();
  at::Tensor logits = at::empty({count, model.classes()});
  pool.run((count + kBatch - 1) / kBatch, [&](int64_t batch, int) {
    if (on_batch) on_batch();
    const c10::NoGradGuard no_grad;
    const nn::LoraScope scope(loras);
    const int64_t begin = batch * kBatch, end = std::min(begin + kBatch, count);
    at::Tensor pixels = at::empty({end - begin, 3, size, size});
    image::Image memory;
    for (int64_t i = begin; i < end; ++i) image::centre_view_to(read(i, memory), view.crop_share, view.normalisation, size, pixels[i - begin].mutable_data_ptr<float>());
    logits.slice(0, begin, end).copy_(model(pixels));
  });
  return logits;
}

}  // namespace

at::Tensor predict_logits(const nn::ClassifierNetwork& model, const std::vector<image::ImageView>& images, const View& view, WorkerPool& pool,
                          const std::function<void()>& on_batch, const nn::ActiveLoras* loras) {
  const auto read = [&](int64_t i, image::Image&) -> const image::ImageView& { return images[static_cast<size_t>(i)]; };
  return logits_of(model, static_cast<int64_t>(images.size()), read, view, pool, on_batch, loras);
}

Evaluation evaluate(const nn::ClassifierNetwork& model, const image::PictureSource& data, const View& view, WorkerPool& pool, const std::function<void()>& on_batch, const nn::ActiveLoras* loras) {
  const auto read = [&](int64_t i, image::Image& memory) -> const image::Image& { return data.read(i, 0, memory); };
  const at::Tensor logits = logits_of(model, data.size(), read, view, pool, on_batch, loras);
  at::Tensor labels = at::empty({data.size()}, at::kLong);
  for (int64_t i = 0; i < data.size(); ++i) labels.mutable_data_ptr<int64_t>()[i] = data.label(i);
  const at::Tensor predicted = logits.argmax(1);
  Evaluation result;
  result.loss = at::cross_entropy_loss(logits, labels).item<double>();
  result.accuracy = predicted.eq(labels).to(at::kDouble).mean().item<double>();
  result.predictions.assign(predicted.const_data_ptr<int64_t>(), predicted.const_data_ptr<int64_t>() + predicted.numel());
  return result;
}

}  // namespace seedbed::train
