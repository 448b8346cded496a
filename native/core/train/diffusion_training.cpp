#include "train/diffusion_training.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <limits>
#include <numeric>

#include "tensor/check.h"
#include "tensor/error.h"
#include "tensor/rng.h"
#include "train/identity.h"
#include "train/initialise.h"
#include "train/pictures.h"
#include "train/sample_order.h"

namespace seedbed::train {

namespace {

constexpr int64_t kEncodeBatch = 16;
constexpr int64_t kCheckedPictures = 128;
constexpr int64_t kCheckBatch = 32;

void check_options(const DiffusionTrainOptions& o) {
  check_range(o.batch_size, "batchSize", 1, 65536);
  check_range(o.shard_size, "shardSize", 1, 65536);
  check_range(o.caption_dropout, "captionDropout", 0.0, 1.0);
  check_range(o.weight.lowest, "snrWeight", 0.0, o.weight.highest);
  check_range(o.text_lr, "textLr", 0.0, 1e3);
  expect(o.text_lr == 0 || o.updates.schedule.base > 0, "Expected lr above 0 with textLr {}", o.text_lr);
  check_range(o.noise_offset, "noiseOffset", 0.0, 10.0);
  check_range(o.check_every, "checkEvery", 0, o.updates.steps);
}

// The distribution of each picture's latents, scaled as the UNet knows them.
struct Latents {
  at::Tensor mean, deviation;  // [N, C, h, w] float16

  at::Tensor draw(int64_t place, at::Generator& generator) const {  // [C, h, w]
    const at::Tensor m = mean[place].to(at::kFloat);
    return m + deviation[place].to(at::kFloat) * at::randn(m.sizes(), generator);
  }
};

constexpr std::string_view kTextTower = "text_model.";

// The part of `tensors` that is the text encoder's, or the UNet's.
NamedTensors part_of(const NamedTensors& tensors, bool text) {
  NamedTensors part;
  std::ranges::copy_if(tensors, std::back_inserter(part), [&](const auto& one) { return one.first.starts_with(kTextTower) == text; });
  return part;
}

class Run {
 public:
  Run(const nn::UnetConfig& config, const nn::AutoencoderKl& vae, const nn::ClipText& text_encoder, const CaptionedPictures& data, const CaptionedPictures* checked,
      const DiffusionTrainOptions& options, WorkerPool& pool, const DiffusionCallbacks& callbacks)
      : vae_(vae), text_encoder_(text_encoder), data_(data), checked_(checked != nullptr ? *checked : data), o_(options), pool_(pool), callbacks_(callbacks), unet_(config),
        kept_(config), pass_(data.pass()), order_(static_cast<int64_t>(pass_.size()), options.seed) {
    start_unet();
    NamedTensors parameters = unet_.named_parameters();
    UpdateOptions updates = o_.updates;
    if (o_.text_lr > 0) {
      start_text();
      std::ranges::copy(part_of(text_->named_parameters(), /*text=*/true), std::back_inserter(parameters));
      updates.optimizer.lr_factors.emplace_back(kTextTower, o_.text_lr / updates.schedule.base);
    }
    trainer_.emplace(std::move(parameters), updates, [this] { return make_identity(); }, pool_);
    nn::adopt_parameters(kept_, part_of(trainer_->kept(), /*text=*/false));
    if (kept_text_) nn::adopt_parameters(*kept_text_, part_of(trainer_->kept(), /*text=*/true));
  }

  DiffusionResult train() {
    latents_ = latents_of_all();
    const int64_t count = std::min(kCheckedPictures, checked_.pictures.size(0));
    checked_latents_ = encode(checked_.pictures, count, {});
    DiffusionResult result;
    result.train = trainer_->run([this](int64_t step) { return one_gradient(step); }, callbacks_.train, [this] { check_when_due(); });
    const NamedTensors weights = trainer_->copy_of_kept();
    result.weights = part_of(weights, /*text=*/false);
    result.text_weights = part_of(weights, /*text=*/true);
    result.check = check_ && check_->step == result.train.steps ? *check_ : check(result.train.steps);
    return result;
  }

 private:
  void start_unet() {
    if (!o_.initial.empty()) return nn::load_parameters(unet_, o_.initial);
    initialise_layers(unet_, o_.seed);
    const c10::NoGradGuard no_grad;
    for (const auto& [name, value] : unet_.named_parameters())
      if (name.starts_with("conv_out.")) at::Tensor(value).zero_();
  }

  // Without the projection, which the UNet does not read.
  void start_text() {
    nn::ClipTextConfig config = text_encoder_.config();
    config.projection_dim = 0;
    text_ = std::make_unique<nn::ClipText>(config);
    kept_text_ = std::make_unique<nn::ClipText>(config);
    nn::load_parameters(*text_, part_of(text_encoder_.named_parameters(), /*text=*/true));
  }

  Latents encode_all() const { return encode(data_.pictures, data_.pictures.size(0), callbacks_.on_encode); }

  // Those of the file `latents` where they are of the same pictures and autoencoder.
  Latents latents_of_all() {
    if (o_.latents.empty()) return encode_all();
    if (std::filesystem::exists(o_.latents)) {
      const SafetensorsFile file(o_.latents);
      if (file.metadata().contains("identity") && file.metadata().at("identity") == sources()) return {file.tensor("mean"), file.tensor("deviation")};
    }
    const Latents all = encode_all();
    write_safetensors(o_.latents, {{"mean", all.mean}, {"deviation", all.deviation}}, {{"identity", sources()}});
    return all;
  }

  // What latents depend on.
  const std::string& sources() {
    if (sources_.empty()) sources_ = fmt::format("{:x} {:x}", fingerprint(data_.pictures), fingerprint(vae_.named_parameters()));
    return sources_;
  }

  // Of the first `count` pictures. `on_done` is called between rounds, on this thread.
  Latents encode(const at::Tensor& pixels, int64_t count, const std::function<void(int64_t, int64_t)>& on_done) const {
    const nn::VaeConfig& c = vae_.config();
    const std::vector<int64_t> shape{count, c.latent_channels, pixels.size(1) / c.factor(), pixels.size(2) / c.factor()};
    const Latents all{at::empty(shape, at::kHalf), at::empty(shape, at::kHalf)};
    const int64_t round = kEncodeBatch * pool_.threads() * 8;
    for (int64_t from = 0; from < count; from += round) {
      const int64_t to = std::min(count, from + round);
      pool_.run((to - from + kEncodeBatch - 1) / kEncodeBatch, [&](int64_t batch, int) {
        const c10::NoGradGuard no_grad;
        if (callbacks_.poll) callbacks_.poll();
        std::vector<int64_t> places(std::min(kEncodeBatch, to - from - batch * kEncodeBatch));
        std::iota(places.begin(), places.end(), from + batch * kEncodeBatch);
        const auto [mean, log_variance] = vae_.encode(pixels_of(pixels, places));
        all.mean.slice(0, places.front(), places.back() + 1).copy_((mean - c.shift_factor) * c.scaling_factor);
        all.deviation.slice(0, places.front(), places.back() + 1).copy_(at::exp(0.5 * log_variance) * c.scaling_factor);
      });
      if (on_done) on_done(to, count);
    }
    return all;
  }

  // All that is drawn for rows of a batch.
  struct Rows {
    at::Tensor latents, noise;  // [b, C, h, w]
    at::Tensor timesteps;       // [b] int64
    at::Tensor ids;             // [b, L]
  };

  // One timestep from each of B equal parts of the schedule, in random order.
  std::vector<int64_t> draw_timesteps(int64_t step) const {
    Rng rng(derive_seed(o_.seed, "timesteps", {static_cast<uint64_t>(step)}));
    const auto all = static_cast<double>(o_.noise.alphas_cumprod.size()), B = static_cast<double>(o_.batch_size);
    std::vector<int64_t> timesteps(o_.batch_size);
    for (size_t i = 0; i < timesteps.size(); ++i) timesteps[i] = std::min(static_cast<int64_t>(all) - 1, static_cast<int64_t>((static_cast<double>(i) + rng.uniform()) / B * all));
    for (size_t i = timesteps.size(); i > 1; --i) std::swap(timesteps[i - 1], timesteps[rng.below(i)]);
    return timesteps;
  }

  at::Tensor draw_caption(int64_t place, Rng& rng) const {
    if (rng.chance(o_.caption_dropout)) return o_.empty_caption;
    return data_.ids[data_.draw_caption(place, rng)];
  }

  Rows draw_rows(int64_t step, const std::vector<int64_t>& places, const std::vector<int64_t>& timesteps, const Shard& shard) const {
    const c10::NoGradGuard no_grad;
    if (o_.fixed) {
      const auto own = [&](const at::Tensor& all) { return all[step].slice(0, shard.begin, shard.end); };
      return {own(o_.fixed->latents), own(o_.fixed->noise), own(o_.fixed->timesteps), own(o_.fixed->ids)};
    }
    std::vector<at::Tensor> latents, noise, ids;
    for (int64_t i = shard.begin; i < shard.end; ++i) {
      const auto position = static_cast<uint64_t>(step * o_.batch_size + i);
      at::Generator generator = make_generator(derive_seed(o_.seed, "noise", {position}));
      Rng rng(derive_seed(o_.seed, "caption", {position}));
      latents.push_back(latents_.draw(places[static_cast<size_t>(i)], generator));
      noise.push_back(at::randn(latents.back().sizes(), generator));
      if (o_.noise_offset > 0) noise.back() += o_.noise_offset * at::randn({latents.back().size(0), 1, 1}, generator);
      ids.push_back(draw_caption(places[static_cast<size_t>(i)], rng));
    }
    return {at::stack(latents), at::stack(noise), at::tensor(std::vector<int64_t>(timesteps.begin() + shard.begin, timesteps.begin() + shard.end), at::kLong), at::stack(ids)};
  }

  at::Tensor loss_of(const Rows& rows) const {
    const nn::PrecisionScope precision(o_.updates.precision);
    NoisyBatch noisy;
    at::Tensor states;
    {
      const c10::NoGradGuard no_grad;
      noisy = make_noisy(o_.noise, rows.latents, rows.noise, rows.timesteps, o_.weight);
      if (!text_) states = text_encoder_(rows.ids).states;
    }
    if (text_) states = (*text_)(rows.ids).states;
    const at::Tensor output = unet_(noisy.x, rows.timesteps.to(at::kFloat), states, {.poll = callbacks_.poll, .recompute = o_.recompute});
    return row_losses(noisy, output).sum() / static_cast<double>(o_.batch_size);
  }

  BatchGradient one_gradient(int64_t step) {
    const int64_t B = o_.batch_size;
    std::vector<int64_t> places;
    for (int64_t i = 0; i < B; ++i) places.push_back(pass_[static_cast<size_t>(order_[step * B + i])]);
    const std::vector<int64_t> timesteps = draw_timesteps(step);
    return sharded_gradient(trainer_->parameters(), Shards::of_size(B, o_.shard_size), pool_, [&](const Shard& shard) { return loss_of(draw_rows(step, places, timesteps, shard)); });
  }

  void check_when_due() {
    if (o_.check_every == 0 || !trainer_->due(o_.check_every)) return;
    check_ = check(trainer_->progress().result.steps);
    if (callbacks_.on_check) callbacks_.on_check(*check_);
  }

  // Mean square error of x0 over pictures [begin, end) at timesteps spread over [from, to) of the schedule; captions of the pictures `shift` places on.
  double error_of(int64_t begin, int64_t end, double from, double to, int64_t shift) const {
    const c10::NoGradGuard no_grad;
    const auto T = static_cast<double>(o_.noise.alphas_cumprod.size());
    const int64_t count = checked_latents_.mean.size(0);
    std::vector<int64_t> timesteps;
    std::vector<at::Tensor> ids, noise;
    for (int64_t i = begin; i < end; ++i) {
      timesteps.push_back(static_cast<int64_t>((from + (to - from) * (static_cast<double>(i) + 0.5) / static_cast<double>(count)) * T));
      ids.push_back(checked_.ids[checked_.first_caption((i + shift) % count)]);
      noise.push_back(at::randn(checked_latents_.mean[0].sizes(), make_generator(derive_seed(o_.seed, "check", {static_cast<uint64_t>(i)}))));
    }
    const at::Tensor t = at::tensor(timesteps, at::kLong), latents = checked_latents_.mean.slice(0, begin, end).to(at::kFloat);
    const NoisyBatch noisy = make_noisy(o_.noise, latents, at::stack(noise), t, {});
    const at::Tensor output = kept_(noisy.x, t.to(at::kFloat), (kept_text_ ? *kept_text_ : text_encoder_)(at::stack(ids)).states);
    return (latents_from(o_.noise, noisy.x, output, t) - latents).square().mean({1, 2, 3}).sum().item<double>() / static_cast<double>(count);
  }

  CaptionCheck check(int64_t step) {
    const int64_t count = checked_latents_.mean.size(0), batches = (count + kCheckBatch - 1) / kCheckBatch;
    struct Part {
      double from, to;
      int64_t shift;
    };
    constexpr std::array<Part, 6> parts{{{0, 0.25, 0}, {0.25, 0.5, 0}, {0.5, 0.75, 0}, {0.75, 1, 0}, {0.9, 1, 0}, {0.9, 1, 1}}};
    std::vector<double> errors(parts.size() * static_cast<size_t>(batches));
    pool_.run(static_cast<int64_t>(errors.size()), [&](int64_t i, int) {
      const Part& part = parts[static_cast<size_t>(i / batches)];
      const int64_t begin = i % batches * kCheckBatch;
      errors[static_cast<size_t>(i)] = error_of(begin, std::min(count, begin + kCheckBatch), part.from, part.to, part.shift);
    });
    const auto sum = [&](int64_t part) { return std::accumulate(errors.begin() + part * batches, errors.begin() + (part + 1) * batches, 0.0); };
    return {.step = step, .error = {sum(0), sum(1), sum(2), sum(3)}, .right = sum(4), .shuffled = sum(5)};
  }

  std::string make_identity() {
    const nn::UnetConfig& c = unet_.config();
    const diffusion::NoiseScheduleOptions& n = o_.noise.options;
    const std::string text = o_.text_lr > 0 ? fmt::format(" rate {}", o_.text_lr) : "";
    return fmt::format("diffusion {} layers {} heads {} context {} | {} | batch {} in {} dropout {} weight {} {} offset {} seed {} | {} {} {} {} {} {} | start {:x} data {} {:x} {:x} {:x} text {:x}{}",
                       fmt::join(c.block_out_channels, ","), fmt::join(c.layers_per_block, ","), fmt::join(c.attention_heads, ","), c.cross_attention_dim, describe(o_.updates), o_.batch_size, o_.shard_size,
                       o_.caption_dropout, o_.weight.lowest, o_.weight.highest, o_.noise_offset, o_.seed, n.train_timesteps, n.beta_start, n.beta_end, static_cast<int>(n.beta_schedule),
                       n.rescale_betas_zero_snr, static_cast<int>(n.prediction), fingerprint(o_.initial), sources(), fingerprint(data_.ids),
                       fingerprint(data_.captions), fingerprint(data_.repeats), fingerprint(text_encoder_.named_parameters()), text);
  }

  const nn::AutoencoderKl& vae_;
  const nn::ClipText& text_encoder_;
  const CaptionedPictures &data_, &checked_;
  const DiffusionTrainOptions& o_;
  WorkerPool& pool_;
  const DiffusionCallbacks& callbacks_;
  nn::Unet2dCondition unet_, kept_;  // trained, and what is measured and given back
  std::unique_ptr<nn::ClipText> text_, kept_text_;  // likewise; none where the text encoder stays as it is
  std::vector<int64_t> pass_;  // pictures of one pass, those that are shown more often more than once
  SampleOrder order_;
  std::optional<Trainer> trainer_;
  std::string sources_;
  Latents latents_, checked_latents_;
  std::optional<CaptionCheck> check_;  // the last one
};

}  // namespace

DiffusionResult train_diffusion(const nn::UnetConfig& config, const nn::AutoencoderKl& vae, const nn::ClipText& text_encoder, const CaptionedPictures& data,
                                const CaptionedPictures* checked, const DiffusionTrainOptions& options, WorkerPool& pool, const DiffusionCallbacks& callbacks) {
  const int64_t factor = vae.config().factor() << (config.block_out_channels.size() - 1);
  check_captioned_pictures(data, "pictures", factor, text_encoder.config());
  if (checked != nullptr) check_captioned_pictures(*checked, "checked pictures", factor, text_encoder.config());
  check_options(options);
  check_shape(options.empty_caption, "emptyCaption", {data.ids.size(1)});
  expect(checked == nullptr || checked->ids.size(1) == data.ids.size(1), "Expected captions of {} tokens to check with, received {}", data.ids.size(1), checked == nullptr ? 0 : checked->ids.size(1));
  expect(config.in_channels == vae.config().latent_channels && config.cross_attention_dim == text_encoder.config().width,
         "Expected a UNet of {} latent channels and prompts of width {}, received {} and {}", vae.config().latent_channels, text_encoder.config().width, config.in_channels, config.cross_attention_dim);
  return Run(config, vae, text_encoder, data, checked, options, pool, callbacks).train();
}

}  // namespace seedbed::train
