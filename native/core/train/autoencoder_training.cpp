#include "train/autoencoder_training.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "tensor/check.h"
#include "tensor/error.h"
#include "tensor/rng.h"
#include "train/identity.h"
#include "train/initialise.h"
#include "train/pictures.h"
#include "train/sample_order.h"

namespace seedbed::train {

namespace {

constexpr int64_t kStatisticsPictures = 1000;
constexpr int64_t kEvaluationBatch = 16;
constexpr double kLeastDeviation = 1e-4;  // of a channel that says nothing

void check_options(const AutoencoderOptions& o, const nn::VaeConfig& c, const at::Tensor& pictures) {
  check_range(o.batch_size, "batchSize", 1, 65536);
  check_range(o.shard_size, "shardSize", 1, 65536);
  check_range(o.edge_weight, "edgeWeight", 0.0, 1e3);
  check_range(o.kl_weight, "klWeight", 0.0, 1e3);
  check_range(o.whole_steps, "wholeSteps", 0, o.updates.steps);
  check_range(o.evaluate_every, "evaluateEvery", 0, 100'000'000);
  check_range(o.crop, "crop", 0, std::min(pictures.size(1), pictures.size(2)));
  expect(o.crop % c.factor() == 0, "Expected a multiple of {} for crop, received {}", c.factor(), o.crop);
  expect(!o.normalise || (c.use_quant_conv && c.use_post_quant_conv), "Expected quant convolutions to fold the normalisation into");
  expect(c.in_channels == 3 && c.out_channels == 3, "Expected an autoencoder of 3 channels, received {} and {}", c.in_channels, c.out_channels);
}

at::Tensor mean_of(const at::Tensor& sum, const at::Tensor& counted, double share) { return sum * (share / static_cast<double>(counted.numel())); }

class Run {
 public:
  Run(const nn::VaeConfig& config, const at::Tensor& pictures, const at::Tensor& validation, const AutoencoderOptions& options, WorkerPool& pool, const TrainCallbacks& callbacks)
      : pictures_(pictures), validation_(validation), o_(options), pool_(pool), callbacks_(callbacks), model_(config), kept_(config), order_(pictures.size(0), options.seed) {
    if (o_.initial.empty()) initialise_layers(model_, o_.seed);
    else nn::load_parameters(model_, o_.initial);
    trainer_.emplace(model_.named_parameters(), o_.updates, [this] { return make_identity(); }, pool_);
    nn::adopt_parameters(kept_, trainer_->kept());
  }

  AutoencoderResult train() {
    TrainCallbacks callbacks = callbacks_;
    callbacks.on_step = [this](const StepReport& report) {
      if (evaluated_ && callbacks_.on_evaluation) callbacks_.on_evaluation(trainer_->progress().result.evaluations.back());
      if (callbacks_.on_step) callbacks_.on_step(report);
    };
    AutoencoderResult result{.train = trainer_->run([this](int64_t step) { return one_gradient(step); }, callbacks, [this] { evaluate_when_due(); })};
    result.weights = trainer_->copy_of_kept();
    const auto [mean, deviation] = latent_statistics();
    if (o_.normalise) fold_normalisation(result.weights, mean, deviation);
    for (int64_t i = 0; i < mean.numel(); ++i) {
      result.mean.push_back(mean[i].item<double>());
      result.deviation.push_back(deviation[i].item<double>());
    }
    return result;
  }

 private:
  // Rows of a batch, and what is drawn for them.
  struct Rows {
    at::Tensor pixels;  // [b, 3, H, W]
    at::Tensor noise;   // [b, latent, h, w]
  };

  Rows draw_rows(int64_t step, const std::vector<int64_t>& places, const Shard& shard) const {
    const c10::NoGradGuard no_grad;
    const std::vector<int64_t> own(places.begin() + shard.begin, places.begin() + shard.end);
    if (o_.fixed) return {pixels_of(pictures_, own), o_.fixed->noise[step].slice(0, shard.begin, shard.end)};
    const int64_t first = step * o_.batch_size + shard.begin, crop = step < o_.updates.steps - o_.whole_steps ? o_.crop : 0;
    Rows rows{.pixels = crops_of(pictures_, own, crop, o_.seed, first)};
    const nn::VaeConfig& c = model_.config();
    rows.noise = at::empty({shard.size(), c.latent_channels, rows.pixels.size(2) / c.factor(), rows.pixels.size(3) / c.factor()});
    for (int64_t i = 0; i < shard.size(); ++i) rows.noise[i].normal_(0, 1, make_generator(derive_seed(o_.seed, "latent", {static_cast<uint64_t>(first + i)})));
    return rows;
  }

  // The rows' part of the batch's loss: `share` of its rows.
  at::Tensor loss_of(const Rows& rows, double share) const {
    const auto [mean, log_variance] = model_.encode(rows.pixels);
    const at::Tensor error = model_.decode(mean + at::exp(0.5 * log_variance) * rows.noise) - rows.pixels;
    at::Tensor loss = mean_of(error.abs().sum(), error, share);
    for (const int64_t dim : {2, 3}) {
      const at::Tensor edges = error.slice(dim, 1) - error.slice(dim, 0, error.size(dim) - 1);
      if (o_.edge_weight > 0 && edges.numel() > 0) loss = loss + o_.edge_weight * mean_of(edges.abs().sum(), edges, share);
    }
    const at::Tensor kl = 0.5 * (mean.square() + at::exp(log_variance) - 1 - log_variance);
    return loss + o_.kl_weight * mean_of(kl.sum(), kl, share);
  }

  BatchGradient one_gradient(int64_t step) {
    std::vector<int64_t> places;
    for (int64_t i = 0; i < o_.batch_size; ++i) places.push_back(o_.fixed ? o_.fixed->places[step][i].item<int64_t>() : order_[step * o_.batch_size + i]);
    return sharded_gradient(trainer_->parameters(), Shards::of_size(o_.batch_size, o_.shard_size), pool_, [&](const Shard& shard) {
      return loss_of(draw_rows(step, places, shard), static_cast<double>(shard.size()) / static_cast<double>(o_.batch_size));
    });
  }

  void evaluate_when_due() {
    TrainResult& result = trainer_->progress().result;
    evaluated_ = validation_.defined() && trainer_->due(o_.evaluate_every);
    if (!evaluated_) return;
    const int64_t count = validation_.size(0);
    const at::Tensor quality = at::empty({count}, at::kDouble), error = at::empty({count}, at::kDouble);
    in_batches(validation_, count, [&](int64_t begin, const at::Tensor& pixels) {
      const at::Tensor decoded = kept_.decode(kept_.encode(pixels).first);
      quality.slice(0, begin, begin + pixels.size(0)).copy_(psnr(decoded, pixels));
      error.slice(0, begin, begin + pixels.size(0)).copy_((decoded - pixels).abs().flatten(1).mean(1));
    });
    result.evaluations.push_back({result.steps, error.mean().item<double>(), quality.mean().item<double>()});
  }

  // Mean and deviation of draws of the latents [latent], double.
  std::pair<at::Tensor, at::Tensor> latent_statistics() {
    const int64_t count = std::min(kStatisticsPictures, pictures_.size(0)), batches = (count + kEvaluationBatch - 1) / kEvaluationBatch;
    at::Tensor moments = at::empty({batches, 2, model_.config().latent_channels}, at::kDouble);
    in_batches(pictures_, count, [&](int64_t begin, const at::Tensor& pixels) {
      const auto [mean, log_variance] = kept_.encode(pixels);
      const auto sum = [](const at::Tensor& x) { return x.sum({0, 2, 3}, false, at::kDouble); };
      moments[begin / kEvaluationBatch].copy_(at::stack({sum(mean), sum(mean.square() + log_variance.exp())}));
    });
    const double elements = static_cast<double>(count * (pictures_.size(1) / model_.config().factor()) * (pictures_.size(2) / model_.config().factor()));
    moments = moments.sum(0) / elements;
    return {moments[0], (moments[1] - moments[0].square()).clamp_min(0).sqrt().clamp_min(kLeastDeviation)};
  }

  // `count` of the pictures, evenly spread, in batches on the pool's threads.
  void in_batches(const at::Tensor& pictures, int64_t count, const std::function<void(int64_t begin, const at::Tensor& pixels)>& body) {
    pool_.run((count + kEvaluationBatch - 1) / kEvaluationBatch, [&](int64_t batch, int) {
      const c10::NoGradGuard no_grad;
      const int64_t begin = batch * kEvaluationBatch;
      std::vector<int64_t> places;
      for (int64_t i = begin; i < std::min(count, begin + kEvaluationBatch); ++i) places.push_back(i * pictures.size(0) / count);
      body(begin, pixels_of(pictures, places));
    });
  }

  std::string make_identity() const {
    const nn::VaeConfig& c = model_.config();
    return fmt::format("autoencoder {} latent {} layers {} groups {} attention {} | {} | batch {} in {} crop {} whole {} edges {} kl {} evaluate {} seed {} start {:x} data {:x} {:x}",
                       fmt::join(c.block_out_channels, ","), c.latent_channels, c.layers_per_block, c.norm_groups, c.mid_block_attention, describe(o_.updates), o_.batch_size, o_.shard_size, o_.crop,
                       o_.whole_steps, o_.edge_weight, o_.kl_weight, o_.evaluate_every, o_.seed, fingerprint(o_.initial), fingerprint(pictures_), fingerprint(validation_));
  }

  const at::Tensor pictures_, validation_;
  const AutoencoderOptions& o_;
  WorkerPool& pool_;
  const TrainCallbacks& callbacks_;
  nn::AutoencoderKl model_, kept_;  // trained, and what is measured and given back
  SampleOrder order_;
  std::optional<Trainer> trainer_;
  bool evaluated_ = false;  // at the last step
};

}  // namespace

AutoencoderResult train_autoencoder(const nn::VaeConfig& config, const at::Tensor& pictures, const at::Tensor& validation, const AutoencoderOptions& options, WorkerPool& pool,
                                    const TrainCallbacks& callbacks) {
  check_pictures(pictures, "pictures", config.factor());
  if (validation.defined()) check_pictures(validation, "validation", config.factor());
  check_options(options, config, pictures);
  return Run(config, pictures, validation, options, pool, callbacks).train();
}

void fold_normalisation(const NamedTensors& weights, const at::Tensor& mean, const at::Tensor& deviation) {
  const c10::NoGradGuard no_grad;
  const auto named = [&](std::string_view name) {
    const auto found = std::ranges::find(weights, name, [](const auto& one) { return std::string_view(one.first); });
    expect(found != weights.end(), "Expected {} among the weights", name);
    return found->second;
  };
  const int64_t latent = mean.numel();
  const at::Tensor m = mean.to(at::kFloat), s = deviation.to(at::kFloat);  // [latent]
  const at::Tensor encoder = named("quant_conv.weight"), shift = named("quant_conv.bias");              // rows: means, then log variances
  const at::Tensor decoder = named("post_quant_conv.weight"), constant = named("post_quant_conv.bias");
  encoder.slice(0, 0, latent).div_(s.view({latent, 1, 1, 1}));
  shift.slice(0, 0, latent).sub_(m).div_(s);
  shift.slice(0, latent).sub_(2 * s.log());
  constant.add_(decoder.flatten(1).mv(m));
  decoder.mul_(s.view({1, latent, 1, 1}));
}

}  // namespace seedbed::train
