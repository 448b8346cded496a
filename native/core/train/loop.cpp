#include "train/loop.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/ranges.h>

#include "tensor/check.h"
#include "tensor/error.h"
#include "train/gradient.h"
#include "train/identity.h"

namespace seedbed::train {

namespace {

void check_options(const TrainOptions& o) {
  check_range(o.shard_size, "shardSize", 1, 65536);
  check_range(o.label_smoothing, "labelSmoothing", 0.0, 0.999);
  check_range(o.evaluate_every, "evaluateEvery", 0, o.updates.steps);
  check_range(o.view.crop_share, "cropShare", 0.1, 1.0);
}

class Run {
 public:
  Run(nn::ClassifierNetwork& model, const image::PictureSource& data, const image::PictureSource* synthetic, const image::PictureSource* validation, const TrainOptions& options, WorkerPool& pool,
      const TrainCallbacks& callbacks)
      : model_(model),
        data_(data),
        synthetic_(synthetic),
        validation_(validation),
        options_(options),
        pool_(pool),
        callbacks_(callbacks),
        adapter_(make_adapter()),
        trained_(make_trained()),
        trainer_(trained_, options.updates, [this] { return make_identity(); }, pool, model.named_buffers()),
        batches_(data, synthetic, batch_options()) {}

  ~Run() {
    for (const auto& [name, value] : model_.named_parameters()) value.requires_grad_(true);
  }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  ClassifierTraining train() {
    TrainCallbacks callbacks = callbacks_;
    callbacks.on_step = [this](const StepReport& report) {
      if (callbacks_.on_step) callbacks_.on_step(report);
      if (evaluated_ && callbacks_.on_evaluation) callbacks_.on_evaluation(result().evaluations.back());
    };
    TrainResult trained = trainer_.run([this](int64_t step) { return one_gradient(step); }, callbacks, [this] {
      nn::BatchStatistics::update_running(statistics_);
      evaluate_when_due();
    });
    if (options_.keep == Keep::best && trained.best) {
      const c10::NoGradGuard no_grad;
      const NamedTensors& best = trainer_.progress().best_weights;
      const std::map<std::string, at::Tensor> by_name(best.begin(), best.end());
      for (const auto& [name, value] : trainer_.state()) at::Tensor(value).copy_(by_name.at(name));
    }
    return {std::move(trained), adapter_ == nullptr ? std::map<std::string, nn::LoraFactors>{} : adapter_->factors()};
  }

 private:
  std::unique_ptr<const nn::NetworkAdapter> make_adapter() const {
    if (!options_.adapter) return nullptr;
    const auto& [draw, targets, initial] = *options_.adapter;
    expect(!targets.empty() || !initial.empty(), "Expected at least one target for the adapter");
    return std::make_unique<const nn::NetworkAdapter>(model_, initial.empty() ? draw_factors(model_, "classifier", targets, draw, options_.seed) : initial, nn::AdapterUse::training);
  }

  BatchOptions batch_options() const {
    return {.batch_size = options_.batch_size, .augment = options_.augment, .normalisation = options_.view.normalisation, .image_size = model_.image_size(), .real_weight = options_.real_weight, .seed = options_.seed};
  }

  // What is trained: all weights, those that are not frozen, or the factors and the head. The others take no gradient while this lives.
  NamedTensors make_trained() const {
    NamedTensors trained = adapter_ == nullptr ? NamedTensors{} : adapter_->parameters();
    const std::set<std::string> frozen = frozen_parameters(model_, adapter_ == nullptr ? options_.freeze : Freeze{.backbone = true});
    for (const auto& [name, value] : model_.named_parameters()) {
      if (frozen.contains(name)) value.requires_grad_(false);
      else trained.emplace_back(name, value);
    }
    return trained;
  }

  const nn::ActiveLoras* active() const { return adapter_ == nullptr ? nullptr : &adapter_->active(); }

  TrainResult& result() { return trainer_.progress().result; }

  BatchGradient one_gradient(int64_t step) {
    ClassifierGradient computed = batch_gradient(model_, trainer_.parameters(), batches_.draw(step, pool_), draw_step_mix(step), options_, step, pool_, active());
    statistics_ = std::move(computed.statistics);
    return std::move(computed.gradient);
  }

  void evaluate_when_due() {
    const int64_t step = result().steps;
    evaluated_ = validation_ != nullptr && trainer_.due(options_.evaluate_every);
    if (!evaluated_) return;
    const Evaluation evaluation = evaluate(model_, *validation_, options_.view, pool_, {}, active());
    result().evaluations.push_back({step, evaluation.loss, evaluation.accuracy});
    if (result().best && evaluation.accuracy <= result().best->accuracy) return;
    result().best = result().evaluations.back();
    if (options_.keep != Keep::best) return;
    NamedTensors& best = trainer_.progress().best_weights;
    best.clear();
    for (const auto& [name, value] : trainer_.state()) best.emplace_back(name, value.detach().clone());
  }

  Mix draw_step_mix(int64_t step) const {
    if (!options_.mixup) return {};
    Rng rng(derive_seed(options_.seed, "mixup", {static_cast<uint64_t>(step)}));
    return draw_mix(*options_.mixup, model_.image_size(), rng);
  }

  // What must be equal for a checkpoint to be continued. The number of threads is not part of it.
  std::string make_identity() const {
    const auto& o = options_;
    const MixupOptions m = o.mixup.value_or(MixupOptions{.probability = 0});
    return fmt::format("{} | batch {} in {} smoothing {} seed {} evaluate {} keep {} | mix {} {} {} {} | {} | view {} mean {} std {} | model {} | data {:x} {:x}{}{}{}", describe(o.updates), o.batch_size,
                       o.shard_size, o.label_smoothing, o.seed, o.evaluate_every, static_cast<int>(o.keep), m.mixup_alpha, m.cutmix_alpha, m.probability, m.switch_to_cutmix, describe(o.augment),
                       o.view.crop_share, fmt::join(o.view.normalisation.mean, " "), fmt::join(o.view.normalisation.std, " "), model_.identity(), data_.fingerprint(),
                       validation_ == nullptr ? 0 : validation_->fingerprint(), adapter_identity(), freeze_identity(model_, o.freeze),
                       synthetic_ == nullptr ? "" : fmt::format(" | synthetic {} {:x}", o.real_weight, synthetic_->fingerprint()));
  }

  // The weights below an adapter are not in the checkpoint.
  std::string adapter_identity() const {
    if (!options_.adapter) return "";
    const auto& [draw, targets, initial] = *options_.adapter;
    return fmt::format(" | adapter {} {} {} {} {:x}", draw.rank, draw.alpha, static_cast<int>(draw.init), fmt::join(targets, ","), backbone_fingerprint(model_));
  }

  nn::ClassifierNetwork& model_;
  const image::PictureSource& data_;
  const image::PictureSource* const synthetic_;
  const image::PictureSource* const validation_;
  TrainOptions options_;
  WorkerPool& pool_;
  const TrainCallbacks& callbacks_;
  std::unique_ptr<const nn::NetworkAdapter> adapter_;  // may be missing
  NamedTensors trained_;
  Trainer trainer_;
  BatchSource batches_;
  std::vector<nn::BatchStatistics> statistics_;  // of the last step's shards
  bool evaluated_ = false;  // at the last step
};

}  // namespace

uint64_t backbone_fingerprint(const nn::ClassifierNetwork& model) {
  uint64_t digest = 0;
  for (const auto& [name, value] : model.named_state())
    if (!model.is_head(name)) digest = derive_seed(digest, std::string_view(static_cast<const char*>(value.const_data_ptr()), value.nbytes()));
  return digest;
}

ClassifierTraining train_classifier(nn::ClassifierNetwork& model, const image::PictureSource& data, const image::PictureSource* synthetic, const image::PictureSource* validation, const TrainOptions& options,
                                    WorkerPool& pool, const TrainCallbacks& callbacks) {
  check_options(options);
  expect(synthetic == nullptr || !options.mixup, "Expected no mixup with synthetic data: it would mix real with synthetic pictures");
  expect(!options.adapter || (!options.freeze.backbone && options.freeze.stages == 0), "Expected either an adapter or freeze, received both");
  expect(data.classes() == model.classes(), "Expected training data with the model's {} classes, received {}", model.classes(), data.classes());
  return Run(model, data, synthetic, validation, options, pool, callbacks).train();
}

}  // namespace seedbed::train
