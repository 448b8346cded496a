#include "train/loop.h"

#include <ATen/ATen.h>

#include <cmath>
#include <filesystem>

#include "tensor/check.h"
#include "tensor/error.h"
#include "train/checkpoint.h"
#include "train/gradient.h"
#include "train/sample_order.h"

namespace seedbed::train {

namespace {

void check_options(const TrainOptions& o) {
  check_range(o.steps, "steps", 1, 100'000'000);
  check_range(o.batch_size, "batchSize", 1, 65536);
  check_range(o.shard_size, "shardSize", 1, 65536);
  check_range(o.label_smoothing, "labelSmoothing", 0.0, 0.999);
  check_range(o.clip_norm, "clipNorm", 0.0, 1e9);
  check_range(o.schedule.base, "lr", 0.0, 1e3);
  check_range(o.schedule.warmup_steps, "warmupSteps", 0, o.steps);
  check_range(o.evaluate_every, "evaluateEvery", 0, o.steps);
  check_range(o.checkpoint_every, "checkpointEvery", 1, 100'000'000);
  check_range(o.view.crop_share, "cropShare", 0.1, 1.0);
  check_range(o.augment.min_scale, "augment.scale", 0.0001, o.augment.max_scale);
  check_range(o.augment.max_scale, "augment.scale", o.augment.min_scale, 1.0);
  check_range(o.augment.min_ratio, "augment.ratio", 0.01, o.augment.max_ratio);
  expect(!o.resume || !o.checkpoint.empty(), "Expected a checkpoint file to resume from, received none");
}

class Run {
 public:
  Run(nn::VisionTransformer& model, const LabelledImages& data, const LabelledImages* validation, const TrainOptions& options, WorkerPool& pool,
      const TrainCallbacks& callbacks)
      : model_(model),
        data_(data),
        validation_(validation),
        options_(options),
        pool_(pool),
        callbacks_(callbacks),
        parameters_(model.parameters()),
        optimizer_(model.named_parameters(), options.optimizer),
        order_(data.size(), options.seed) {
    options_.schedule.total_steps = options.steps;
  }

  TrainResult train() {
    if (!options_.checkpoint.empty()) identity_ = make_identity();
    if (options_.resume && std::filesystem::exists(options_.checkpoint)) progress_ = read_checkpoint(options_.checkpoint, identity_, model_.named_parameters(), optimizer_);
    TrainResult& result = progress_.result;
    while (result.steps < options_.steps) {
      one_step();
      after_step();
    }
    if (options_.keep == Keep::best && result.best) nn::load_parameters(model_, progress_.best_weights);
    return std::move(result);
  }

 private:
  void one_step() {
    TrainResult& result = progress_.result;
    const int64_t step = result.steps;
    const auto [pixels, labels] = next_batch();
    const Mix mix = draw_step_mix(step);
    BatchGradient batch = batch_gradient(model_, parameters_, pixels, labels, mix, options_, step, pool_);
    if (!std::isfinite(batch.loss) || !std::isfinite(batch.norm))
      fail(ErrorCode::not_finite, "The {} became {} at step {}; lower the learning rate. The weights of step {} are untouched{}",
           std::isfinite(batch.loss) ? "gradient" : "loss", std::isfinite(batch.loss) ? batch.norm : batch.loss, step + 1, step,
           options_.checkpoint.empty() ? "" : ", the last checkpoint stands");
    if (options_.clip_norm > 0 && batch.norm > options_.clip_norm)
      for (at::Tensor& gradient : batch.gradients) gradient = gradient * (options_.clip_norm / batch.norm);
    const double lr = lr_at(options_.schedule, step);
    optimizer_.step(batch.gradients, lr, pool_);
    result.steps = step + 1;
    result.samples += labels.size(0);
    result.history.push_back({result.steps, batch.loss, lr});
  }

  // Evaluation comes before the checkpoint, so that a checkpoint holds everything up to its step. Callbacks come last
  // and may cancel.
  void after_step() {
    TrainResult& result = progress_.result;
    const bool last = result.steps == options_.steps;
    const bool evaluated = validation_ != nullptr && (last || (options_.evaluate_every > 0 && result.steps % options_.evaluate_every == 0));
    if (evaluated) evaluate_now();
    const bool saved = !options_.checkpoint.empty() && (last || result.steps % options_.checkpoint_every == 0);
    if (saved) save();
    try {
      if (callbacks_.on_step) callbacks_.on_step(result.history.back());
      if (evaluated && callbacks_.on_evaluation) callbacks_.on_evaluation(result.evaluations.back());
      if (saved && callbacks_.on_checkpoint) callbacks_.on_checkpoint(result.steps);
    } catch (const Cancelled&) {
      if (!saved && !options_.checkpoint.empty()) save();
      throw;
    }
  }

  void evaluate_now() {
    TrainResult& result = progress_.result;
    const Evaluation evaluation = evaluate(model_, *validation_, options_.view, pool_);
    result.evaluations.push_back({result.steps, evaluation.loss, evaluation.accuracy});
    if (result.best && evaluation.accuracy <= result.best->accuracy) return;
    result.best = result.evaluations.back();
    if (options_.keep != Keep::best) return;
    progress_.best_weights.clear();
    for (const auto& [name, value] : model_.named_parameters()) progress_.best_weights.emplace_back(name, value.detach().clone());
  }

  void save() { write_checkpoint(options_.checkpoint, identity_, model_.named_parameters(), optimizer_, progress_); }

  std::pair<at::Tensor, at::Tensor> next_batch() {
    const int64_t B = options_.batch_size, size = model_.config().image_size, first = progress_.result.samples;
    std::vector<int64_t> places(B), labels(B);
    for (int64_t i = 0; i < B; ++i) {
      places[i] = order_[first + i];
      labels[i] = data_.labels[places[i]];
    }
    at::Tensor pixels = at::empty({B, 3, size, size});
    auto* out = pixels.mutable_data_ptr<float>();
    pool_.run(B, [&](int64_t i, int) {
      Rng rng(derive_seed(options_.seed, "augment", {static_cast<uint64_t>(first + i)}));
      image::augment_to(data_.images[places[i]], options_.augment, options_.view.normalisation, size, rng, out + i * 3 * size * size);
    });
    return {pixels, at::tensor(labels, at::kLong)};
  }

  Mix draw_step_mix(int64_t step) const {
    if (!options_.mixup) return {};
    Rng rng(derive_seed(options_.seed, "mixup", {static_cast<uint64_t>(step)}));
    return draw_mix(*options_.mixup, model_.config().image_size, rng);
  }

  // What must be equal for a checkpoint to be continued. The number of threads is not part of it.
  std::string make_identity() const {
    const auto& o = options_;
    const auto& a = o.augment;
    const nn::VitConfig& c = model_.config();
    const image::RandAugmentOptions r = a.rand_augment.value_or(image::RandAugmentOptions{.ops = 0});
    const image::RandomErasingOptions e = a.random_erasing.value_or(image::RandomErasingOptions{.probability = 0});
    const MixupOptions m = o.mixup.value_or(MixupOptions{.probability = 0});
    return fmt::format(
        "steps {} batch {} shard {} | optimizer {} {} {} {} {} {} | lr {} {} {} {} | smoothing {} clip {} precision {} seed {} evaluate {} keep {} | mix {} {} {} {} | crop {} {} {} {} "
        "flip {} {} colourise {} | ra {} {} {} {} {} | re {} {} {} {} | view {} {} {} | model {} {} {} {} {} {} {} {} {} | data {:x} {:x}",
        o.steps, o.batch_size, o.shard_size, static_cast<int>(o.optimizer.kind), o.optimizer.weight_decay, o.optimizer.beta1, o.optimizer.beta2, o.optimizer.eps,
        o.optimizer.momentum, o.schedule.base, o.schedule.warmup, o.schedule.min, o.schedule.warmup_steps, o.label_smoothing, o.clip_norm,
        static_cast<int>(o.precision), o.seed, o.evaluate_every, static_cast<int>(o.keep), m.mixup_alpha, m.cutmix_alpha, m.probability, m.switch_to_cutmix, a.min_scale,
        a.max_scale, a.min_ratio, a.max_ratio, a.flip, a.flip_vertical, a.colourise, r.ops, r.magnitude, r.magnitude_std, r.probability, r.fill, e.probability, e.min_area, e.max_area,
        e.min_aspect, o.view.crop_share, o.view.normalisation.mean[0], o.view.normalisation.std[0], c.image_size, c.patch_size, c.channels, c.width, c.depth, c.heads,
        c.mlp_ratio, c.classes, c.drop_path, fingerprint(data_), validation_ == nullptr ? 0 : fingerprint(*validation_));
  }

  nn::VisionTransformer& model_;
  const LabelledImages& data_;
  const LabelledImages* validation_;
  TrainOptions options_;
  WorkerPool& pool_;
  const TrainCallbacks& callbacks_;
  std::vector<at::Tensor> parameters_;
  Optimizer optimizer_;
  SampleOrder order_;
  std::string identity_;
  Progress progress_;
};

}  // namespace

TrainResult train_classifier(nn::VisionTransformer& model, const LabelledImages& data, const LabelledImages* validation, const TrainOptions& options, WorkerPool& pool,
                             const TrainCallbacks& callbacks) {
  check_options(options);
  check_labelled_images(data, "training data");
  if (validation != nullptr) check_labelled_images(*validation, "validation data");
  expect(data.classes == model.config().classes, "Expected training data with the model's {} classes, received {}", model.config().classes, data.classes);
  return Run(model, data, validation, options, pool, callbacks).train();
}

}  // namespace seedbed::train
