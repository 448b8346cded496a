#include "diffusion/pipeline.h"

#include <ATen/ATen.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "tensor/check.h"
#include "tensor/error.h"

namespace seedbed::diffusion {

namespace {

constexpr int64_t kMaxSide = 16384;
constexpr int64_t kMaxInterval = 1000;
constexpr double kMaxMerged = 0.75;  // all but the destinations
constexpr int64_t kPreviewLatents = 16;  // longer side of what is decoded for a preview

at::Tensor for_images(const at::Tensor& x, int64_t images) {
  if (x.size(0) == images) return x;
  std::vector<int64_t> shape = x.sizes().vec();
  shape[0] = images;
  return x.expand(shape);
}

// The rows of a batch; those with one row serve all.
at::Tensor rows(const at::Tensor& x, int64_t begin, int64_t end) { return !x.defined() || x.size(0) == 1 ? x : x.slice(0, begin, end); }

// Brings the guided output's spread back towards that of the conditional one (arXiv 2305.08891, eq. 15 and 16).
at::Tensor rescale(const at::Tensor& guided, const at::Tensor& conditional, double share) {
  const auto spread = [](const at::Tensor& x) { return x.std({1, 2, 3}, /*unbiased=*/true, /*keepdim=*/true); };
  return guided * (share * spread(conditional) / spread(guided) + (1 - share));
}

bool is_guided(const Guidance& guidance) { return guidance.scale != 1 && guidance.negative_prompt.defined(); }

void check_rows(const at::Tensor& x, std::string_view name, int64_t images) {
  if (x.size(0) != 1 && x.size(0) != images) fail(ErrorCode::shape, "Expected 1 or {} rows of {}, received {}", images, name, x.size(0));
}

void check_latents(const at::Tensor& x, const Model& model) {
  check_shape(x, "latents", {-1, model.unet.config().in_channels, -1, -1});
  if (x.numel() == 0) fail(ErrorCode::shape, "Expected latents of at least one element, their shape is [{}]", fmt::join(x.sizes(), ", "));
}

void check_shortcuts(const Model& model, const Guidance& guidance) {
  if (guidance.feature_cache) {
    check_range(guidance.feature_cache->interval, "featureCache.interval", 1, kMaxInterval);
    check_range(guidance.feature_cache->branch, "featureCache.branch", 0, model.unet.branches() - 1);
  }
  if (guidance.token_merging) check_range(guidance.token_merging->ratio, "tokenMerging.ratio", 0.0, kMaxMerged);
}

void check_guidance(const Model& model, const Guidance& guidance, int64_t images) {
  check_shortcuts(model, guidance);
  check_shape(guidance.prompt, "prompt", {-1, -1, model.unet.config().cross_attention_dim});
  check_rows(guidance.prompt, "prompt", images);
  if (!is_guided(guidance)) return;
  check_shape(guidance.negative_prompt, "negativePrompt", {-1, guidance.prompt.size(1), model.unet.config().cross_attention_dim});
  check_rows(guidance.negative_prompt, "negativePrompt", images);
}

void check(const Model& model, const GenerateOptions& o) {
  const int64_t f = model.vae.config().factor(), images = static_cast<int64_t>(o.seeds.size());
  expect(images > 0, "Expected at least one seed");
  check_range(o.width, "width", f, kMaxSide);
  check_range(o.height, "height", f, kMaxSide);
  expect(o.width % f == 0 && o.height % f == 0, "Expected width and height to be multiples of {}, received {} x {}", f, o.width, o.height);
  check_range(o.batch_size, "batchSize", 1, 1024);
  check_range(o.strength, "strength", 0.0, 1.0);
  check_guidance(model, o.guidance, images);
  if (o.latents.defined()) check_shape(o.latents, "latents", {images, model.vae.config().latent_channels, o.height / f, o.width / f});
  if (o.image.defined()) {
    check_shape(o.image, "image", {-1, 3, o.height, o.width});
    check_rows(o.image, "image", images);
  }
  if (o.mask.defined()) {
    expect(o.image.defined(), "Expected an image with the mask");
    check_shape(o.mask, "mask", {-1, 1, o.height, o.width});
    check_rows(o.mask, "mask", images);
  }
  if (o.attention.empty()) return;
  nn::check_attention(o.attention, model.unet, images);
  for (int64_t begin = 0; begin < images; begin += o.batch_size) nn::for_pictures(o.attention, begin, begin + o.batch_size);
}

// [2 B, L, D] with guidance, else [B, L, D].
at::Tensor both_prompts(const Guidance& guidance, int64_t images) {
  const at::Tensor conditional = for_images(guidance.prompt, images);
  return is_guided(guidance) ? at::cat({for_images(guidance.negative_prompt, images), conditional}) : conditional;
}

// What one run keeps from call to call.
struct Caches {
  nn::PromptCache prompt;
  std::optional<nn::FeatureCache> features;
};

at::Tensor predict_guided(const Model& model, const Guidance& guidance, const at::Tensor& x, const at::Tensor& timesteps, const at::Tensor& prompt, Caches* caches,
                          const nn::Poll& poll) {
  nn::UnetOptions options{.free_u = guidance.free_u, .control = guidance.control, .merging = guidance.token_merging, .poll = poll};
  if (caches != nullptr) {
    options.cache = &caches->prompt;
    options.features = caches->features ? &*caches->features : nullptr;
  }
  if (!is_guided(guidance)) return model.unet(x, timesteps, prompt, options);
  const auto halves = model.unet(at::cat({x, x}), at::cat({timesteps, timesteps}), prompt, options).chunk(2);
  const at::Tensor guided = at::lerp(halves[0], halves[1], guidance.scale);
  return guidance.rescale > 0 ? rescale(guided, halves[1], guidance.rescale) : guided;
}

// Keeps what the mask does not paint anew: the network sees the picture there with the level's noise, and its guess
// there is the picture. `keep` [B, 1, h, w] is 1 where the picture stays. Above `below` the network sees noise alone.
Denoise keeping(Denoise denoise, const at::Tensor& picture, const at::Tensor& noise, const at::Tensor& keep, double below) {
  return [=](const at::Tensor& x, const Level& level) {
    const at::Tensor seen = level.timestep < below ? at::lerp(x, add_noise(picture, noise, level), keep) : x;
    return at::lerp(denoise(seen, level), picture, keep);
  };
}

std::vector<image::Image> preview(const Model& model, const at::Tensor& denoised) {
  const int64_t longest = std::max(denoised.size(2), denoised.size(3)), step = (longest + kPreviewLatents - 1) / kPreviewLatents;
  const at::Tensor small = step > 1 ? at::avg_pool2d(denoised, {step, step}, {}, at::IntArrayRef({0, 0}), /*ceil_mode=*/true, /*count_include_pad=*/false) : denoised;
  return to_images(decode_latents(model, small, false, {}));
}

// The pictures [begin, end) of a run.
at::Tensor generate_batch(const Model& model, const GenerateOptions& o, int64_t begin, int64_t end, nn::AttentionControl* control, const OnStep& on_step, const nn::Poll& poll) {
  const int64_t images = end - begin, f = model.vae.config().factor();
  NoiseSource noise(std::vector<uint64_t>(o.seeds.begin() + begin, o.seeds.begin() + end));
  Guidance guidance = o.guidance;
  guidance.prompt = rows(guidance.prompt, begin, end);
  guidance.negative_prompt = rows(guidance.negative_prompt, begin, end);
  guidance.control = control;
  Denoise denoise = denoiser_of(guided_predictor(model, guidance, images, poll), o.schedule.options.prediction);

  SamplerOptions sampler = o.sampler;
  at::Tensor picture;
  if (o.image.defined()) {
    const at::Tensor pixels = for_images(rows(o.image, begin, end), images);
    picture = encode_pixels(model, pixels, o.tiled, &noise, poll);
    sampler.start = start_of_strength(o.strength, step_count(o.sampler));
  }
  const SamplePlan steps = plan(sampler, o.schedule);
  const at::Tensor unit = o.latents.defined() ? rows(o.latents, begin, end) : noise.draw(model.vae.config().latent_channels, o.height / f, o.width / f);
  if (!picture.defined()) return sample(sampler, o.schedule, unit * steps.init_scale, denoise, noise, on_step);
  if (sampler.start >= static_cast<int64_t>(steps.levels.size())) return picture;
  const Level& first = steps.levels[static_cast<size_t>(sampler.start)];
  const at::Tensor x = add_noise(picture, unit, first);
  if (!o.mask.defined()) return sample(sampler, o.schedule, x, denoise, noise, on_step);
  // With all steps taken, what is painted anew begins as noise that knows nothing of the picture.
  const bool forget = sampler.start == 0;
  const at::Tensor keep = 1 - at::upsample_nearest2d(for_images(rows(o.mask, begin, end), images), {o.height / f, o.width / f});
  denoise = keeping(std::move(denoise), picture, unit, keep, forget ? first.timestep : std::numeric_limits<double>::infinity());
  return at::lerp(sample(sampler, o.schedule, forget ? unit * steps.init_scale : x, denoise, noise, on_step), picture, keep);
}

}  // namespace

Predict guided_predictor(const Model& model, const Guidance& guidance, int64_t images, const nn::Poll& poll) {
  check_guidance(model, guidance, images);
  const at::Tensor prompt = both_prompts(guidance, images).to(model.placement.device);  // once, not at every step
  const auto caches = std::make_shared<Caches>();
  if (guidance.feature_cache) caches->features.emplace(*guidance.feature_cache);
  return [&model, guidance, prompt, caches, poll](const at::Tensor& x, const Level& level) {
    return predict_guided(model, guidance, x, at::full({x.size(0)}, level.timestep, at::kFloat), prompt, caches.get(), poll);
  };
}

at::Tensor guided_rows(const Model& model, const Guidance& guidance, const at::Tensor& x, const at::Tensor& timesteps, const nn::Poll& poll) {
  check_guidance(model, guidance, x.size(0));
  expect(guidance.control == nullptr, "Expected no attention control where a call holds several timesteps");
  return predict_guided(model, guidance, x, timesteps, both_prompts(guidance, x.size(0)), nullptr, poll);
}

at::Tensor predict_noise(const Model& model, const at::Tensor& latents, const at::Tensor& timesteps, const at::Tensor& context, const nn::UnetOptions& options) {
  check_latents(latents, model);
  check_shape(timesteps, "timestep", {-1});
  check_rows(timesteps, "timestep", latents.size(0));
  check_shape(context, "context", {-1, -1, model.unet.config().cross_attention_dim});
  check_rows(context, "context", latents.size(0));
  return model.unet(latents, for_images(timesteps, latents.size(0)), for_images(context, latents.size(0)), options);
}

Generated generate(const Model& model, const GenerateOptions& o, const OnGenerate& on_step, const nn::Poll& poll) {
  check(model, o);
  const auto images = static_cast<int64_t>(o.seeds.size()), batches = (images + o.batch_size - 1) / o.batch_size;
  Generated out;
  std::vector<at::Tensor> latents;
  for (int64_t batch = 0; batch < batches; ++batch) {
    const int64_t begin = batch * o.batch_size, end = std::min(images, begin + o.batch_size);
    nn::AttentionControls controls(nn::for_pictures(o.attention, begin, end), end - begin);
    const auto report = [&](int64_t step, int64_t steps, const Level& level, const at::Tensor&, const at::Tensor& denoised) {
      if (poll) poll();
      const bool shown = o.preview_every > 0 && step % o.preview_every == 0 && step < steps;
      if (on_step) on_step(batch * steps + step, batches * steps, level.sigma, shown ? preview(model, denoised) : std::vector<image::Image>{});
    };
    latents.push_back(generate_batch(model, o, begin, end, o.attention.empty() ? nullptr : &controls, report, poll));
    nn::append_records(out.attention, controls.records());
  }
  out.latents = at::cat(latents);
  check_finite(out.latents, "the generated latents");
  // One picture at a time: decoding needs the most memory of all.
  for (int64_t i = 0; o.decode && i < images; ++i) {
    if (poll) poll();
    out.images.push_back(std::move(to_images(decode_latents(model, out.latents.slice(0, i, i + 1), o.tiled, poll)).front()));
  }
  return out;
}

std::vector<image::Image> to_images(const at::Tensor& pixels) {
  const at::Tensor bytes = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(at::kByte).permute({0, 2, 3, 1}).contiguous();  // [B, H, W, 3]
  std::vector<image::Image> images;
  for (int64_t i = 0; i < bytes.size(0); ++i) {
    image::Image& image = images.emplace_back(bytes.size(2), bytes.size(1), bytes.size(3));
    std::memcpy(image.pixels.data(), bytes[i].const_data_ptr(), image.pixels.size());
  }
  return images;
}

}  // namespace seedbed::diffusion
