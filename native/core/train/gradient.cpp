#include "train/gradient.h"

#include <ATen/ATen.h>

#include "train/freeze.h"

namespace seedbed::train {

ClassifierGradient batch_gradient(const nn::ClassifierNetwork& model, const std::vector<at::Tensor>& parameters, const LabelledBatch& batch, const Mix& mix, const TrainOptions& options, int64_t step,
                                  WorkerPool& pool, const nn::ActiveLoras* loras) {
  const Shards shards = Shards::of_size(batch.pixels.size(0), options.shard_size);
  const int64_t frozen_stages = frozen_stage_count(model, options.freeze);
  std::vector<nn::BatchStatistics> statistics(shards.count);
  BatchGradient gradient = sharded_gradient(parameters, shards, pool, [&](const Shard& shard) {
    const nn::LoraScope scope(loras);
    at::Generator generator = make_generator(derive_seed(options.seed, "forward", {static_cast<uint64_t>(step), static_cast<uint64_t>(shard.index)}));
    const at::Tensor x = mix_rows(batch.pixels, mix, shard.begin, shard.end);
    const at::Tensor targets = mix_targets(batch.labels, mix, options.label_smoothing, model.classes(), shard.begin, shard.end);
    const nn::PrecisionScope precision(options.updates.precision);
    const at::Tensor logits = model(x, {.training = true, .generator = &generator, .statistics = &statistics[shard.index], .frozen_stages = frozen_stages});
    return weighted_cross_entropy(batch, targets, logits, shard.begin, shard.end);
  });
  return {std::move(gradient), std::move(statistics)};
}

}  // namespace seedbed::train
