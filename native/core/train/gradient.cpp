#include "train/gradient.h"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>

namespace seedbed::train {

namespace {

// bfloat16 autocast for the current thread.
class Autocast {
 public:
  explicit Autocast(bool enabled) : before_(at::autocast::is_autocast_enabled(at::kCPU)) {
    at::autocast::set_autocast_enabled(at::kCPU, enabled);
    at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
    at::autocast::increment_nesting();
  }
  ~Autocast() {
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(at::kCPU, before_);
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  bool before_;
};

}  // namespace

BatchGradient batch_gradient(const nn::VisionTransformer& model, const std::vector<at::Tensor>& parameters, const at::Tensor& pixels, const at::Tensor& labels,
                             const Mix& mix, const TrainOptions& options, int64_t step, WorkerPool& pool,
                             const nn::ActiveLoras* loras) {
  const int64_t B = pixels.size(0), shards = (B + options.shard_size - 1) / options.shard_size;
  BatchGradient total = sharded_gradient(parameters, shards, pool, [&](int64_t shard) {
    const nn::LoraScope scope(loras);
    const int64_t begin = shard * options.shard_size, end = std::min(begin + options.shard_size, B);
    at::Generator generator = make_generator(derive_seed(options.seed, "forward", {static_cast<uint64_t>(step), static_cast<uint64_t>(shard)}));
    const at::Tensor x = mix_rows(pixels, mix, begin, end);
    const at::Tensor targets = mix_targets(labels, mix, options.label_smoothing, model.config().classes, begin, end);
    at::Tensor logits;
    {
      const Autocast autocast(options.precision == Precision::bfloat16);
      logits = model(x, {.training = true, .generator = &generator});
    }
    return -(targets * logits.to(at::kFloat).log_softmax(1)).sum() / B;  // this shard's part of the mean
  });
  total.samples = B;
  return total;
}

}  // namespace seedbed::train
