#include "train/gradient.h"

#include <ATen/ATen.h>

namespace seedbed::train {

BatchGradient batch_gradient(const nn::VisionTransformer& model, const std::vector<at::Tensor>& parameters, const LabelledBatch& batch, const Mix& mix, const TrainOptions& options, int64_t step,
                             WorkerPool& pool, const nn::ActiveLoras* loras) {
  const int64_t B = batch.pixels.size(0);
  return sharded_gradient(parameters, Shards::of_size(B, options.shard_size), pool, [&](const Shard& shard) {
    const nn::LoraScope scope(loras);
    at::Generator generator = make_generator(derive_seed(options.seed, "forward", {static_cast<uint64_t>(step), static_cast<uint64_t>(shard.index)}));
    const at::Tensor x = mix_rows(batch.pixels, mix, shard.begin, shard.end);
    const at::Tensor targets = mix_targets(batch.labels, mix, options.label_smoothing, model.config().classes, shard.begin, shard.end);
    const nn::PrecisionScope precision(options.updates.precision);
    return weighted_cross_entropy(batch, targets, model(x, {.training = true, .generator = &generator}), shard.begin, shard.end);
  });
}

}  // namespace seedbed::train
