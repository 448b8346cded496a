#include "train/clip_training.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
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

constexpr double kLargestScale = 100;
constexpr double kEmbeddingDeviation = 0.5, kBranchGain = 0.4;
constexpr int64_t kMostSpread = 512;  // texts
constexpr image::Normalisation kNormalisation{.mean = {0.48145466F, 0.4578275F, 0.40821073F}, .std = {0.26862954F, 0.26130258F, 0.27577711F}};

void check_data(const CaptionedPictures& d, const char* name, const nn::ClipTextConfig& text, const nn::ClipVisionConfig& vision) {
  check_captioned_pictures(d, name, 1, text);
  const int64_t side = vision.image_size;
  expect(d.pictures.size(1) == side && d.pictures.size(2) == side, "Expected {} of {} x {}, the vision tower's image size, received {} x {}", name, side, side, d.pictures.size(2), d.pictures.size(1));
}

// Pixels in [-1, 1] as CLIP takes them.
at::Tensor normalised(const at::Tensor& pixels) {
  const auto channels = [](const std::array<float, 3>& values) { return at::tensor(at::ArrayRef<float>(values)).view({1, 3, 1, 1}); };
  return ((pixels + 1) * 0.5 - channels(kNormalisation.mean)) / channels(kNormalisation.std);
}

// [a, b] true where a picture or text of `a` is no wrong answer to one of `b`.
at::Tensor same_group(const at::Tensor& a, const at::Tensor& b) { return a.unsqueeze(1) == b.unsqueeze(0); }

// Shares of rows of `similarity` [n, m] whose best, and one of whose five best columns is of the row's group.
Retrieval retrieval(const at::Tensor& similarity, const at::Tensor& row_groups, const at::Tensor& column_groups) {
  const at::Tensor best = std::get<1>(similarity.topk(std::min<int64_t>(5, similarity.size(1)), 1));  // [n, 5]
  const at::Tensor right = column_groups.index({best}) == row_groups.unsqueeze(1);
  return {right.select(1, 0).to(at::kDouble).mean().item<double>(), right.any(1).to(at::kDouble).mean().item<double>()};
}

class Run {
 public:
  Run(const nn::ClipTextConfig& text, const nn::ClipVisionConfig& vision, const CaptionedPictures& data, const CaptionedPictures* validation, const ClipOptions& options, WorkerPool& pool,
      const TrainCallbacks& callbacks)
      : data_(data), validation_(validation), o_(options), pool_(pool), callbacks_(callbacks), model_(text, vision), kept_(text, vision), order_(data.size(), options.seed) {
    initialise_clip(model_, o_.seed);
    if (!o_.initial.empty()) load(model_.named_parameters(), o_.initial);
    trainer_.emplace(model_.named_parameters(), o_.updates, [this] { return make_identity(); }, pool_);
    const NamedTensors kept = kept_.named_parameters();
    for (size_t i = 0; i < kept.size(); ++i) kept[i].second.requires_grad_(false).set_data(trainer_->kept()[i].second.detach());
  }

  ClipResult train() {
    TrainCallbacks callbacks = callbacks_;
    callbacks.on_step = [this](const StepReport& report) {
      if (evaluated_ && callbacks_.on_evaluation) callbacks_.on_evaluation(trainer_->progress().result.evaluations.back());
      if (callbacks_.on_step) callbacks_.on_step(report);
    };
    ClipResult result{.train = trainer_->run([this](int64_t step) { return one_gradient(step); }, callbacks, [this] { after_update(); })};
    const c10::NoGradGuard no_grad;
    result.weights = trainer_->copy_of_kept();
    result.logit_scale = kept_.logit_scale.exp().item<double>();
    const CaptionedPictures& shown = validation_ != nullptr ? *validation_ : data_;
    const at::Tensor texts = shown.captions.slice(0, 0, std::min(kMostSpread, shown.captions.size(0)));
    result.spread = text_spread(kept_.text, shown.ids.index_select(0, std::get<0>(at::_unique(texts))));
    if (validation_ != nullptr) std::tie(result.picture_to_text, result.text_to_picture) = measure();
    return result;
  }

 private:
  static void load(const NamedTensors& parameters, const NamedTensors& given) {
    const c10::NoGradGuard no_grad;
    for (const auto& [name, value] : parameters) {
      const auto found = std::ranges::find(given, name, &std::pair<std::string, at::Tensor>::first);
      if (found == given.end() || found->second.sizes() != value.sizes()) fail(ErrorCode::weights, "Expected {} of shape [{}] to begin with, found {}", name, fmt::join(value.sizes(), ", "), found == given.end() ? "none" : "another shape");
      check_finite(found->second, name);
      value.copy_(found->second);
    }
  }

  // A picture's caption at a position of the run: a row of `ids`.
  int64_t caption_of(int64_t place, int64_t position) const {
    Rng rng(derive_seed(o_.seed, "caption", {static_cast<uint64_t>(position)}));
    return o_.fixed ? data_.first_caption(place) : data_.draw_caption(place, rng);
  }

  // [b, 3, side, side] as the tower takes them; `first` is the first one's position in the run.
  at::Tensor shown(const std::vector<int64_t>& places, int64_t first) const {
    if (!o_.augment) return normalised(pixels_of(data_.pictures, places));
    const auto b = static_cast<int64_t>(places.size()), side = model_.vision.config().image_size;
    const at::Tensor views = at::empty({b, 3, side, side}), pictures = data_.pictures.contiguous();
    for (int64_t i = 0; i < b; ++i) {
      Rng rng(derive_seed(o_.seed, "augment", {static_cast<uint64_t>(first + i)}));
      const image::ImageView picture(side, side, 3, pictures.const_data_ptr<uint8_t>() + places[static_cast<size_t>(i)] * side * side * 3);
      image::augment_to(picture, *o_.augment, kNormalisation, side, rng, views[i].mutable_data_ptr<float>());
    }
    return views;
  }

  BatchGradient one_gradient(int64_t step) {
    const int64_t B = o_.batch_size;
    std::vector<int64_t> places, texts;
    for (int64_t i = 0; i < B; ++i) {
      places.push_back(o_.fixed ? o_.fixed->places[step][i].item<int64_t>() : order_[step * B + i]);
      texts.push_back(caption_of(places.back(), step * B + i));
    }
    const at::Tensor ids = data_.ids.index_select(0, at::tensor(texts, at::kLong)), where = at::tensor(places, at::kLong);
    const at::Tensor groups = data_.groups.defined() ? data_.groups.index_select(0, where) : where;  // a picture that comes twice is no wrong answer either
    const auto forward = [&](const Shard& shard) -> std::vector<at::Tensor> {
      const nn::PrecisionScope precision(o_.updates.precision);
      return {embed_texts(model_, ids.slice(0, shard.begin, shard.end)), embed_pictures(model_, shown({places.begin() + shard.begin, places.begin() + shard.end}, step * B + shard.begin))};
    };
    const auto loss = [&](const std::vector<std::vector<at::Tensor>>& outputs) {
      std::vector<at::Tensor> text, vision;
      for (const auto& shard : outputs) {
        text.push_back(shard[0]);
        vision.push_back(shard[1]);
      }
      at::Tensor other = same_group(groups, groups);
      other.fill_diagonal_(false);
      const at::Tensor logits = (model_.logit_scale.exp() * at::cat(text).matmul(at::cat(vision).t())).masked_fill(other, -std::numeric_limits<float>::infinity());  // [texts, pictures]
      const at::Tensor own = at::arange(B, at::kLong);
      return (at::cross_entropy_loss(logits, own) + at::cross_entropy_loss(logits.t(), own)) / 2;
    };
    return joint_gradient(trainer_->parameters(), Shards::of_size(B, o_.shard_size), pool_, forward, loss);
  }

  void after_update() {
    const c10::NoGradGuard no_grad;
    model_.logit_scale.clamp_(0, std::log(kLargestScale));
    evaluated_ = validation_ != nullptr && trainer_->due(o_.evaluate_every);
    if (!evaluated_) return;
    TrainResult& result = trainer_->progress().result;
    const Retrieval found = measure().first;
    result.evaluations.push_back({result.steps, 1 - found.top5, found.top1});
  }

  // Picture to text, text to picture.
  std::pair<Retrieval, Retrieval> measure() {
    const c10::NoGradGuard no_grad;
    const CaptionedPictures& v = *validation_;
    const int64_t N = v.size(), width = kept_.text.config().projection_dim;
    const Shards batches = Shards::of_size(N, o_.shard_size);
    const at::Tensor texts = at::empty({N, width}), pictures = at::empty({N, width});
    const at::Tensor ids = v.ids.index_select(0, v.captions.index_select(0, v.starts.slice(0, 0, N)));  // of the first captions
    pool_.run(batches.count, [&](int64_t batch, int) {
      const c10::NoGradGuard no_grad;
      const Shard rows = batches[batch];
      std::vector<int64_t> places(rows.size());
      std::iota(places.begin(), places.end(), rows.begin);
      texts.slice(0, rows.begin, rows.end).copy_(embed_texts(kept_, ids.slice(0, rows.begin, rows.end)));
      pictures.slice(0, rows.begin, rows.end).copy_(embed_pictures(kept_, normalised(pixels_of(v.pictures, places))));
    });
    const at::Tensor similarity = pictures.matmul(texts.t()), groups = v.groups.defined() ? v.groups : at::arange(N, at::kLong);
    return {retrieval(similarity, groups, groups), retrieval(similarity.t(), groups, groups)};
  }

  std::string make_identity() const {
    const auto tower = [](const nn::ClipLayers& c) {
      return fmt::format("{} {} {} {} {} {} {}", c.width, c.intermediate_size, c.layers, c.heads, static_cast<int>(c.activation), c.layer_norm_eps, c.projection_dim);
    };
    const auto data = [](const CaptionedPictures& d) {
      return fmt::format("{:x} {:x} {:x} {:x} {:x}", fingerprint(d.pictures), fingerprint(d.ids), fingerprint(d.captions), fingerprint(d.starts), fingerprint(d.groups));
    };
    const nn::ClipTextConfig& t = model_.text.config();
    const nn::ClipVisionConfig& v = model_.vision.config();
    return fmt::format("clip text {} {} {} {} vision {} {} {} | {} | batch {} in {} evaluate {} seed {} start {:x} | {} | data {} | {}", tower(t), t.vocab_size, t.max_positions, t.eos_token_id, tower(v),
                       v.image_size, v.patch_size, describe(o_.updates), o_.batch_size, o_.shard_size, o_.evaluate_every, o_.seed, fingerprint(o_.initial), o_.augment ? describe(*o_.augment) : "", data(data_),
                       validation_ == nullptr ? "" : data(*validation_));
  }

  const CaptionedPictures& data_;
  const CaptionedPictures* const validation_;
  const ClipOptions& o_;
  WorkerPool& pool_;
  const TrainCallbacks& callbacks_;
  ClipModel model_, kept_;  // trained, and what is measured and given back
  SampleOrder order_;
  std::optional<Trainer> trainer_;
  bool evaluated_ = false;  // at the last step
};

}  // namespace

void initialise_clip(const ClipModel& model, uint64_t seed) {
  const c10::NoGradGuard no_grad;
  initialise_layers(model.text, derive_seed(seed, "text tower"));
  initialise_layers(model.vision, derive_seed(seed, "vision tower"));
  for (const auto& [name, value] : model.named_parameters()) {
    if (name.find("embedding") != std::string::npos && name.find("patch_embedding") == std::string::npos)
      value.normal_(0, kEmbeddingDeviation, make_generator(derive_seed(seed, "initial " + name)));
    if (name.find("out_proj.") != std::string::npos || name.find("fc2.") != std::string::npos) value.mul_(kBranchGain);
  }
  model.logit_scale.fill_(std::log(kFirstClipScale));
}

std::vector<double> text_spread(const nn::ClipText& text, const at::Tensor& ids) {
  const c10::NoGradGuard no_grad;
  const at::Tensor states = text(ids).states;                                          // [M, L, D]
  const at::Tensor spread = states.var(0, /*unbiased=*/false).mean(-1).sqrt(), length = states.square().mean(at::IntArrayRef({0, 2})).sqrt();  // [L]
  const at::Tensor shares = (spread / length).to(at::kDouble).contiguous();
  return {shares.const_data_ptr<double>(), shares.const_data_ptr<double>() + shares.numel()};
}

ClipResult train_clip(const nn::ClipTextConfig& text, const nn::ClipVisionConfig& vision, const CaptionedPictures& data, const CaptionedPictures* validation, const ClipOptions& options,
                      WorkerPool& pool, const TrainCallbacks& callbacks) {
  check_range(options.batch_size, "batchSize", 2, 65536);
  check_range(options.shard_size, "shardSize", 1, 65536);
  check_range(options.evaluate_every, "evaluateEvery", 0, 100'000'000);
  expect(text.projection_dim > 0 && text.projection_dim == vision.projection_dim, "Expected towers with projections of one size, received {} and {}", text.projection_dim, vision.projection_dim);
  check_data(data, "pictures", text, vision);
  if (validation != nullptr) check_data(*validation, "validation pictures", text, vision);
  if (options.augment) image::check_augment(*options.augment);
  return Run(text, vision, data, validation, options, pool, callbacks).train();
}

}  // namespace seedbed::train
