#include "train/lora_training.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "tensor/check.h"
#include "tensor/error.h"
#include "tensor/rng.h"
#include "train/diffusion_loss.h"
#include "train/identity.h"
#include "train/sample_order.h"

namespace seedbed::train {

namespace {

void check_options(const LoraTrainOptions& o, const std::vector<LoraExample>& examples, const diffusion::Model& model) {
  check_range(o.batch_size, "batchSize", 1, 1024);
  check_range(o.shards, "shards", 1, 1024);
  check_range(o.accumulation, "accumulation", 1, 65536);
  check_range(o.min_snr_gamma, "minSnrGamma", 0.0, 1e6);
  check_range(o.noise_offset, "noiseOffset", 0.0, 10.0);
  check_range(o.prior_weight, "priorWeight", 0.0, 1e3);
  if (o.samples) check_samples(*o.samples);
  const int64_t factor = model.vae.config().factor();
  expect(o.size >= factor && o.size % factor == 0, "Expected a multiple of {} for size, received {}", factor, o.size);
  expect(o.fixed || std::ranges::any_of(examples, [](const LoraExample& e) { return !e.prior; }), "Expected at least one picture to train on");
  for (const LoraExample& e : examples) {
    const auto side = std::min(e.image.width, e.image.height);
    expect(o.fixed || side >= o.size, "Expected pictures of at least {} pixels a side, received one of {} x {}", o.size, e.image.width, e.image.height);
  }
}

diffusion::LoraWeights first_weights(const diffusion::Model& model, const LoraShape& shape, uint64_t seed) {
  expect(!shape.unet_targets.empty() || !shape.text_encoder_targets.empty(), "Expected at least one target, in the UNet or in the text encoder");
  return {.unet = draw_factors(model.unet, "UNet", shape.unet_targets, shape, seed), .text_encoder = draw_factors(model.text_encoder, "text encoder", shape.text_encoder_targets, shape, seed), .embeddings = {}};
}

std::vector<int64_t> places_of(const std::vector<LoraExample>& examples, bool prior) {
  std::vector<int64_t> places;
  for (size_t i = 0; i < examples.size(); ++i)
    if (examples[i].prior == prior) places.push_back(static_cast<int64_t>(i));
  return places;
}

class Run {
 public:
  Run(const diffusion::Model& model, const std::vector<LoraExample>& examples, const LoraTrainOptions& options, WorkerPool& pool, const LoraCallbacks& callbacks)
      : model_(model),
        examples_(examples),
        o_(options),
        pool_(pool),
        callbacks_(callbacks),
        weights_(options.initial),
        own_(places_of(examples, false)),
        prior_(places_of(examples, true)),
        own_order_(static_cast<int64_t>(own_.size()), options.seed),
        prior_order_(static_cast<int64_t>(prior_.size()), options.seed) {
    if (weights_.unet.empty() && weights_.text_encoder.empty()) weights_ = first_weights(model, options.lora, options.seed);
    activate(model.unet, weights_.unet, "unet");
    activate(model.text_encoder, weights_.text_encoder, "text_encoder");
    trainer_.emplace(parameters_, o_.updates, [this] { return make_identity(); }, pool_);
  }

  LoraResult train() {
    encode_constants();
    TrainCallbacks callbacks = callbacks_.train;
    callbacks.on_step = [this](const StepReport& report) {
      if (callbacks_.train.on_step) callbacks_.train.on_step(report);
      if (o_.samples && (report.step % o_.samples->every == 0 || report.step == o_.updates.steps)) callbacks_.on_sample(report.step, make_samples(model_, *o_.samples, weights_, callbacks_.poll));
    };
    TrainResult result = trainer_->run([this](int64_t step) { return one_gradient(step); }, callbacks);
    for (const auto& [name, value] : parameters_) value.requires_grad_(false);
    return {std::move(result), weights_};
  }

 private:
  struct Batch {
    at::Tensor latents, noise;  // [B, C, h, w]
    at::Tensor timesteps;       // [B]
    at::Tensor ids;             // [B, L]
    at::Tensor share;           // [B] of the loss: means over own and over prior examples, weighted
    std::vector<int64_t> places;
  };

  void activate(const nn::Module& network, std::map<std::string, nn::LoraFactors>& factors, const std::string& part) {
    for (const nn::LoraLayer& layer : nn::lora_layers(network)) {
      const auto found = factors.find(layer.name);
      if (found == factors.end()) continue;
      nn::LoraFactors& f = found->second;
      nn::check_factors(layer, f);
      f.down = f.down.to(model_.placement.device, at::kFloat).clone().requires_grad_(true);
      f.up = f.up.to(model_.placement.device, at::kFloat).clone().requires_grad_(true);
      active_.at(*layer.layer).add(f);
      parameters_.emplace_back(fmt::format("{}.{}.down", part, layer.name), f.down);
      parameters_.emplace_back(fmt::format("{}.{}.up", part, layer.name), f.up);
    }
  }

  // Latents of pictures that are always cut in the same way, and states of prompts that no trained layer changes.
  void encode_constants() {
    const c10::NoGradGuard no_grad;
    moments_.resize(examples_.size());
    states_.resize(examples_.size());
    for (size_t i = 0; weights_.text_encoder.empty() && i < examples_.size(); ++i) states_[i] = model_.text_encoder(examples_[i].ids.unsqueeze(0)).states;
    if (o_.fixed) return;
    for (size_t i = 0; i < examples_.size(); ++i) {
      if (callbacks_.poll) callbacks_.poll();
      const image::Image& image = examples_[i].image;
      if (image.width == o_.size && image.height == o_.size && !o_.flip) {
        const auto [mean, log_variance] = model_.vae.encode(pixels_of(i, nullptr), callbacks_.poll);
        moments_[i] = at::cat({mean, log_variance}, 1);
      }
      if (callbacks_.on_encode) callbacks_.on_encode(static_cast<int64_t>(i) + 1, static_cast<int64_t>(examples_.size()));
    }
  }

  // [1, 3, size, size] in [-1, 1]: a square of the picture, drawn when there is something to draw.
  at::Tensor pixels_of(size_t i, Rng* rng) const {
    const image::Image& image = examples_[i].image;
    const int64_t right = image.width - o_.size, down = image.height - o_.size;
    const int64_t x = rng == nullptr ? right / 2 : static_cast<int64_t>(rng->below(static_cast<uint64_t>(right) + 1));
    const int64_t y = rng == nullptr ? down / 2 : static_cast<int64_t>(rng->below(static_cast<uint64_t>(down) + 1));
    const bool flipped = rng != nullptr && o_.flip && rng->chance(0.5);
    const at::Tensor all = at::from_blob(const_cast<uint8_t*>(image.pixels.data()), {image.height, image.width, 3}, at::kByte);
    const at::Tensor cut = all.slice(0, y, y + o_.size).slice(1, x, x + o_.size).permute({2, 0, 1}).unsqueeze(0).to(at::kFloat) / 127.5 - 1;
    return flipped ? cut.flip({3}) : cut.contiguous();
  }

  // A draw from the distribution of the picture's latents, scaled.
  at::Tensor latents_of(int64_t place, Rng& rng, at::Generator& generator) {
    const auto i = static_cast<size_t>(place);
    at::Tensor moments = moments_[i];
    if (!moments.defined()) {
      const auto [mean, log_variance] = model_.vae.encode(pixels_of(i, &rng), callbacks_.poll);
      moments = at::cat({mean, log_variance}, 1);
    }
    const auto parts = moments.chunk(2, 1);
    const at::Tensor z = parts[0] + at::exp(0.5 * parts[1].clamp(-30, 20)) * at::randn(parts[0].sizes(), generator, parts[0].options());
    return (z - model_.vae.config().shift_factor) * model_.vae.config().scaling_factor;
  }

  Batch draw_batch(int64_t number) {
    const c10::NoGradGuard no_grad;
    const auto place = static_cast<uint64_t>(number);
    Batch batch;
    if (o_.fixed) {
      std::tie(batch.latents, batch.noise, batch.timesteps) = std::tuple(o_.fixed->latents[number], o_.fixed->noise[number], o_.fixed->timesteps[number]);
      for (int64_t i = 0; i < batch.latents.size(0); ++i) batch.places.push_back(i % static_cast<int64_t>(examples_.size()));
      batch.share = at::full({batch.latents.size(0)}, 1.0 / static_cast<double>(batch.latents.size(0)));
    } else {
      at::Generator generator = make_generator(derive_seed(o_.seed, "noise", {place}));
      std::vector<at::Tensor> latents;
      std::vector<int64_t> timesteps;
      std::vector<float> share;
      const auto add = [&](const std::vector<int64_t>& places, SampleOrder& order, double weight) {
        for (int64_t i = 0; !places.empty() && i < o_.batch_size; ++i) {
          const int64_t position = number * o_.batch_size + i;
          Rng rng(derive_seed(o_.seed, &places == &own_ ? "example" : "prior example", {static_cast<uint64_t>(position)}));
          batch.places.push_back(places[static_cast<size_t>(order[position])]);
          timesteps.push_back(static_cast<int64_t>(rng.below(o_.noise.alphas_cumprod.size())));
          latents.push_back(latents_of(batch.places.back(), rng, generator));
          share.push_back(static_cast<float>(weight / static_cast<double>(o_.batch_size)));
        }
      };
      add(own_, own_order_, 1);
      add(prior_, prior_order_, o_.prior_weight);
      batch.latents = at::cat(latents);
      batch.noise = at::randn(batch.latents.sizes(), generator, batch.latents.options());
      if (o_.noise_offset > 0) batch.noise = batch.noise + o_.noise_offset * at::randn({batch.latents.size(0), batch.latents.size(1), 1, 1}, generator, batch.latents.options());
      batch.timesteps = at::tensor(timesteps, at::kLong);
      batch.share = at::tensor(share);
    }
    std::vector<at::Tensor> ids;
    for (int64_t i : batch.places) ids.push_back(examples_[static_cast<size_t>(i)].ids);
    batch.ids = at::stack(ids);
    return batch;
  }

  // Equal prompts go through the text encoder once.
  at::Tensor prompt_states(const Batch& batch) {
    if (!weights_.text_encoder.empty()) {
      std::vector<int64_t> first, place;
      for (int64_t i = 0; i < batch.ids.size(0); ++i) {
        const auto same = std::ranges::find_if(first, [&](int64_t j) { return batch.ids[i].equal(batch.ids[j]); });
        place.push_back(same - first.begin());
        if (same == first.end()) first.push_back(i);
      }
      return model_.text_encoder(batch.ids.index_select(0, at::tensor(first))).states.index_select(0, at::tensor(place).to(model_.placement.device));
    }
    std::vector<at::Tensor> rows;
    for (int64_t place : batch.places) rows.push_back(states_[static_cast<size_t>(place)]);
    return at::cat(rows);
  }

  // A shard of a batch as one of its own.
  static Batch rows_of(const Batch& batch, const Shard& shard) {
    const auto rows = [&](const at::Tensor& x) { return x.slice(0, shard.begin, shard.end); };
    return {rows(batch.latents), rows(batch.noise), rows(batch.timesteps), rows(batch.ids), rows(batch.share), {batch.places.begin() + shard.begin, batch.places.begin() + shard.end}};
  }

  at::Tensor loss_of(const Batch& batch) {
    const nn::LoraScope scope(&active_);
    const NoisyBatch noisy = make_noisy(o_.noise, batch.latents, batch.noise, batch.timesteps, {.highest = o_.min_snr_gamma});
    const at::Tensor output = model_.unet(noisy.x, batch.timesteps.to(at::kFloat), prompt_states(batch), {.poll = callbacks_.poll, .recompute = o_.recompute});
    return (row_losses(noisy, output) * batch.share).sum() / static_cast<double>(o_.accumulation);
  }

  BatchGradient one_gradient(int64_t step) {
    BatchGradient total;
    for (int64_t i = 0; i < o_.accumulation; ++i) {
      const Batch batch = draw_batch(step * o_.accumulation + i);
      const int64_t rows = batch.latents.size(0);
      BatchGradient part = sharded_gradient(trainer_->parameters(), {rows, std::min(o_.shards, rows)}, pool_, [&](const Shard& shard) { return loss_of(rows_of(batch, shard)); });
      part.samples = o_.batch_size;  // without those of the prior
      total = i == 0 ? std::move(part) : sum_of(total, part);
    }
    return total;
  }

  std::string make_identity() const {
    uint64_t data = 0;
    for (const LoraExample& e : examples_) data = derive_seed(data, std::string_view(reinterpret_cast<const char*>(e.image.pixels.data()), e.image.pixels.size()), {static_cast<uint64_t>(e.prior)});
    for (const LoraExample& e : examples_) data = derive_seed(data, std::string_view(static_cast<const char*>(e.ids.const_data_ptr()), e.ids.nbytes()));
    return fmt::format("lora {} {} {} | {} {} | {} | batch {} x {} in {} size {} flip {} | snr {} offset {} prior {} seed {} | model {} {} data {:x}",
                       o_.lora.rank, o_.lora.alpha, static_cast<int>(o_.lora.init), fmt::join(o_.lora.unet_targets, ","), fmt::join(o_.lora.text_encoder_targets, ","), describe(o_.updates),
                       o_.batch_size, o_.accumulation, o_.shards, o_.size, o_.flip, o_.min_snr_gamma, o_.noise_offset, o_.prior_weight, o_.seed,
                       model_.parameter_count(), c10::toString(model_.placement.dtype), data);
  }

  const diffusion::Model& model_;
  const std::vector<LoraExample>& examples_;
  LoraTrainOptions o_;
  WorkerPool& pool_;
  const LoraCallbacks& callbacks_;
  diffusion::LoraWeights weights_;
  std::vector<int64_t> own_, prior_;  // places in `examples_`
  nn::ActiveLoras active_;
  NamedTensors parameters_;
  std::optional<Trainer> trainer_;
  SampleOrder own_order_, prior_order_;
  std::vector<at::Tensor> moments_, states_;  // by example, where constant
};

}  // namespace

LoraResult train_lora(const diffusion::Model& model, const std::vector<LoraExample>& examples, const LoraTrainOptions& options, WorkerPool& pool, const LoraCallbacks& callbacks) {
  check_options(options, examples, model);
  return Run(model, examples, options, pool, callbacks).train();
}

}  // namespace seedbed::train
