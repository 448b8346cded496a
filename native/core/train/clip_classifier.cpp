#include "train/clip_classifier.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/ranges.h>

#include "tensor/check.h"
#include "tensor/error.h"
#include "tensor/rng.h"
#include "train/identity.h"

namespace seedbed::train {

namespace {

constexpr int64_t kBatch = 64;  // pictures, or sentences, that are embedded together

at::Tensor mean_of_sentences(const at::Tensor& sentences, const std::vector<int64_t>& counts) {
  std::vector<at::Tensor> means;
  for (const at::Tensor& of_class : sentences.split_with_sizes(counts)) means.push_back(of_class.mean(0));
  return unit(at::stack(means));
}

ClipFactors first_factors(const ClipModel& model, const ClipClassifierOptions& o) {
  if (!o.initial.text.empty() || !o.initial.vision.empty()) return o.initial;
  expect(!o.text_targets.empty() || !o.vision_targets.empty(), "Expected at least one target, in the text tower or in the vision tower");
  ClipFactors factors;
  if (!o.text_targets.empty()) factors.text = draw_factors(model.text, "text tower", o.text_targets, o.draw, o.seed);
  if (!o.vision_targets.empty()) factors.vision = draw_factors(model.vision, "vision tower", o.vision_targets, o.draw, o.seed);
  return factors;
}

BatchOptions batch_options(const ClipModel& model, const ClipClassifierOptions& o) {
  return {.batch_size = o.batch_size, .augment = o.augment, .normalisation = o.normalisation, .image_size = model.vision.config().image_size, .real_weight = o.real_weight, .seed = o.seed};
}

class Run {
 public:
  Run(const ClipModel& model, const ClassTexts& texts, const image::PictureSource& data, const image::PictureSource* synthetic, const ClipClassifierOptions& options, WorkerPool& pool)
      : model_(model),
        texts_(texts),
        o_(options),
        pool_(pool),
        batches_(data, synthetic, batch_options(model, options)),
        adapters_(model, first_factors(model, options), nn::AdapterUse::training),
        trainer_(adapters_.parameters(), options.updates, [&] { return make_identity(data, synthetic); }, pool),
        sentence_shards_(adapters_.text() == nullptr ? Shards{0, 0} : Shards::of_size(texts.ids.size(0), options.shard_size)),
        picture_shards_(Shards::of_size(options.batch_size, options.shard_size)) {
    if (adapters_.text() == nullptr) constant_ = class_embeddings(model, texts, nullptr, pool);
  }

  ClipClassifierTraining train(const TrainCallbacks& callbacks) {
    TrainResult result = trainer_.run([this](int64_t step) { return one_gradient(step); }, callbacks);
    return {std::move(result), adapters_.factors()};
  }

 private:
  // The sentences' shards first, then the pictures'.
  BatchGradient one_gradient(int64_t step) {
    const LabelledBatch batch = batches_.draw(step, pool_);
    const int64_t sentences = sentence_shards_.count, all = sentences + picture_shards_.count;
    const auto forward = [&](const Shard& part) -> std::vector<at::Tensor> {
      if (part.index < sentences) {
        const nn::LoraScope scope(adapters_.text());
        const Shard rows = sentence_shards_[part.index];
        return {embed_texts(model_, texts_.ids.slice(0, rows.begin, rows.end))};
      }
      const nn::LoraScope scope(adapters_.vision());
      const Shard rows = picture_shards_[part.index - sentences];
      return {embed_pictures(model_, batch.pixels.slice(0, rows.begin, rows.end))};
    };
    const auto loss = [&](const std::vector<std::vector<at::Tensor>>& outputs) {
      std::vector<at::Tensor> texts, pictures;
      for (int64_t i = 0; i < all; ++i) (i < sentences ? texts : pictures).push_back(outputs[i][0]);
      const at::Tensor classes = sentences == 0 ? constant_ : mean_of_sentences(at::cat(texts), texts_.counts);
      const at::Tensor logits = model_.logit_scale.exp() * at::cat(pictures).matmul(classes.t());
      return weighted_cross_entropy(batch, at::one_hot(batch.labels, texts_.classes()).to(at::kFloat), logits, 0, o_.batch_size);
    };
    BatchGradient gradient = joint_gradient(trainer_.parameters(), {all, all}, pool_, forward, loss, o_.recompute ? sentences : 0);
    gradient.samples = o_.batch_size;
    return gradient;
  }

  std::string make_identity(const image::PictureSource& data, const image::PictureSource* synthetic) const {
    const auto factors = [](const std::map<std::string, nn::LoraFactors>& given) {
      uint64_t mark = 0;
      for (const auto& [name, f] : given) mark = derive_seed(mark, name, {fingerprint(f.down), fingerprint(f.up)});
      return mark;
    };
    return fmt::format("clip classifier {} | batch {} in {} real {} seed {} | lora {} {} {} {} {} {:x} {:x} | {} | view {} {} | model {:x} texts {} {:x} data {:x} {:x}", describe(o_.updates), o_.batch_size,
                       o_.shard_size, o_.real_weight, o_.seed, o_.draw.rank, o_.draw.alpha, static_cast<int>(o_.draw.init), fmt::join(o_.text_targets, ","), fmt::join(o_.vision_targets, ","),
                       factors(o_.initial.text), factors(o_.initial.vision), describe(o_.augment), fmt::join(o_.normalisation.mean, ","), fmt::join(o_.normalisation.std, ","),
                       fingerprint(model_.named_parameters()), fmt::join(texts_.counts, "+"), fingerprint(texts_.ids), data.fingerprint(), synthetic == nullptr ? 0 : synthetic->fingerprint());
  }

  const ClipModel& model_;
  const ClassTexts& texts_;
  const ClipClassifierOptions& o_;
  WorkerPool& pool_;
  BatchSource batches_;
  ClipAdapters adapters_;
  Trainer trainer_;
  Shards sentence_shards_, picture_shards_;
  at::Tensor constant_;  // the classes' embeddings, where the text tower has no factors
};

}  // namespace

ClipAdapters::ClipAdapters(const ClipModel& model, const ClipFactors& factors, nn::AdapterUse use) {
  if (!factors.text.empty()) text_ = std::make_unique<const nn::NetworkAdapter>(model.text, factors.text, use);
  if (!factors.vision.empty()) vision_ = std::make_unique<const nn::NetworkAdapter>(model.vision, factors.vision, use);
}

NamedTensors ClipAdapters::parameters() const {
  NamedTensors all;
  for (const auto* part : {text_.get(), vision_.get()}) {
    if (part == nullptr) continue;
    for (auto& one : part->parameters()) all.push_back(std::move(one));
  }
  return all;
}

ClipFactors ClipAdapters::factors() const {
  ClipFactors factors;
  if (text_) factors.text = text_->factors();
  if (vision_) factors.vision = vision_->factors();
  return factors;
}

int64_t ClipAdapters::parameter_count() const { return (text_ ? text_->parameter_count() : 0) + (vision_ ? vision_->parameter_count() : 0); }

at::Tensor text_embeddings(const ClipModel& model, const at::Tensor& ids, const ClipAdapters* adapters, WorkerPool& pool, const std::function<void()>& on_batch) {
  const Shards batches = Shards::of_size(ids.size(0), kBatch);
  at::Tensor embeddings = at::empty({ids.size(0), model.text.config().projection_dim});
  pool.run(batches.count, [&](int64_t batch, int) {
    if (on_batch) on_batch();
    const c10::NoGradGuard no_grad;
    const nn::LoraScope scope(adapters == nullptr ? nullptr : adapters->text());
    const Shard rows = batches[batch];
    embeddings.slice(0, rows.begin, rows.end).copy_(embed_texts(model, ids.slice(0, rows.begin, rows.end)));
  });
  return embeddings;
}

at::Tensor class_embeddings(const ClipModel& model, const ClassTexts& texts, const ClipAdapters* adapters, WorkerPool& pool, const std::function<void()>& on_batch) {
  const c10::NoGradGuard no_grad;
  return mean_of_sentences(text_embeddings(model, texts.ids, adapters, pool, on_batch), texts.counts);
}

at::Tensor picture_embeddings(const ClipModel& model, const std::vector<image::ImageView>& images, const View& view, const ClipAdapters* adapters, WorkerPool& pool, const std::function<void()>& on_batch) {
  const int64_t count = static_cast<int64_t>(images.size()), size = model.vision.config().image_size;
  const Shards batches = Shards::of_size(count, kBatch);
  at::Tensor embeddings = at::empty({count, model.vision.config().projection_dim});
  pool.run(batches.count, [&](int64_t batch, int) {
    if (on_batch) on_batch();
    const c10::NoGradGuard no_grad;
    const nn::LoraScope scope(adapters == nullptr ? nullptr : adapters->vision());
    const Shard rows = batches[batch];
    at::Tensor pixels = at::empty({rows.size(), 3, size, size});
    for (int64_t i = rows.begin; i < rows.end; ++i) image::centre_view_to(images[i], view.crop_share, view.normalisation, size, pixels[i - rows.begin].mutable_data_ptr<float>());
    embeddings.slice(0, rows.begin, rows.end).copy_(embed_pictures(model, pixels));
  });
  return embeddings;
}

void check_class_texts(const ClassTexts& texts) {
  check_shape(texts.ids, "ids", {-1, -1});
  int64_t all = 0;
  for (const int64_t count : texts.counts) {
    expect(count > 0, "Expected at least one sentence of each class, received none of one");
    all += count;
  }
  expect(!texts.counts.empty() && all == texts.ids.size(0), "Expected {} sentences about {} classes, received {}", all, texts.counts.size(), texts.ids.size(0));
}

ClipClassifierTraining train_clip_classifier(const ClipModel& model, const ClassTexts& texts, const image::PictureSource& data, const image::PictureSource* synthetic, const ClipClassifierOptions& options,
                                             WorkerPool& pool, const TrainCallbacks& callbacks) {
  check_range(options.shard_size, "shardSize", 1, 65536);
  check_class_texts(texts);
  expect(texts.classes() == data.classes(), "Expected sentences about {} classes, received some about {}", data.classes(), texts.classes());
  return Run(model, texts, data, synthetic, options, pool).train(callbacks);
}

}  // namespace seedbed::train
