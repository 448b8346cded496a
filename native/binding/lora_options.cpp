#include "lora_options.h"

#include "diffusion_options.h"
#include "names.h"
#include "options.h"
#include "sampler_options.h"
#include "tensor/check.h"
#include "values.h"

namespace seedbed::binding {

namespace {

constexpr Names<train::LoraInit, 2> kInit{{{"gaussian", train::LoraInit::gaussian}, {"kaiming", train::LoraInit::kaiming}}};

void read_examples(const Fields& fields, std::string_view images, std::string_view ids, bool prior, std::vector<train::LoraExample>& out) {
  std::vector<image::Image> pictures = parse_images(fields, images);
  if (pictures.empty()) return;
  const at::Tensor tokens = parse_tensor(fields.required(ids), fields.path_of(ids));  // [pictures, L]
  check_shape(tokens, ids, {static_cast<int64_t>(pictures.size()), -1});
  check_dtype(tokens, ids, at::kLong);
  for (size_t i = 0; i < pictures.size(); ++i) {
    expect(pictures[i].channels == 3, "Expected pictures with 3 channels, received {}", pictures[i].channels);
    out.push_back({std::move(pictures[i]), tokens[static_cast<int64_t>(i)], prior});
  }
}

}  // namespace

void add_lora_enum_names(Napi::Env env, Napi::Object enums) { enums.Set("loraInit", emit_names(env, kInit)); }

std::map<std::string, nn::LoraFactors> parse_lora_factors(const Fields& fields, std::string_view part) {
  std::map<std::string, nn::LoraFactors> factors;
  for (const auto& [name, layer] : fields.named_objects(part)) {
    nn::LoraFactors& f = factors[name];
    f.down = parse_tensor(layer.required("down"), layer.path_of("down"));
    f.up = parse_tensor(layer.required("up"), layer.path_of("up"));
    layer.read("scale", f.scale);
  }
  return factors;
}

NamedTensors parse_embeddings(const Fields& fields) {
  const auto given = fields.optional("embeddings");
  return given ? parse_named_tensors(*given, fields.path_of("embeddings")) : NamedTensors();
}

Napi::Value emit_lora_factors(Napi::Env env, const std::map<std::string, nn::LoraFactors>& factors) {
  Napi::Object out = Napi::Object::New(env);
  for (const auto& [name, f] : factors) out.Set(name, emit_object(env, {{"down", emit_tensor(env, f.down.detach().cpu())}, {"up", emit_tensor(env, f.up.detach().cpu())}, {"scale", f.scale}}));
  return out;
}

void parse_lora_draw(const Fields& fields, train::LoraDraw& draw) { fields.read("rank", draw.rank).read("alpha", draw.alpha).read("init", names(kInit), draw.init); }

std::optional<train::ClassifierAdapter> parse_classifier_adapter(const Fields& fields) {
  const auto given = fields.object("adapters");
  if (!given) return std::nullopt;
  train::ClassifierAdapter a;
  a.draw.init = train::LoraInit::kaiming;
  parse_lora_draw(*given, a.draw);
  given->read("targets", a.targets);
  a.initial = parse_lora_factors(*given, "factors");
  return a;
}

train::LoraTrainOptions parse_lora_train_options(const Fields& fields) {
  train::LoraTrainOptions o;
  parse_lora_draw(fields, o.lora);
  fields.read("unet_targets", o.lora.unet_targets).read("text_encoder_targets", o.lora.text_encoder_targets);
  o.updates = parse_update_options(fields, o.updates);
  fields.read("batch_size", o.batch_size).read("shards", o.shards).read("accumulation", o.accumulation).read("size", o.size).read("flip", o.flip);
  fields.read("min_snr_gamma", o.min_snr_gamma).read("noise_offset", o.noise_offset).read("prior_weight", o.prior_weight).read("recompute", o.recompute).read("seed", o.seed);
  o.noise = diffusion::make_noise_schedule(parse_noise_schedule_options(fields.required_object("schedule")));
  o.initial = {.unet = parse_lora_factors(fields, "unet"), .text_encoder = parse_lora_factors(fields, "text_encoder"), .embeddings = {}};
  if (const auto fixed = fields.object("fixed")) {
    const auto tensor = [&](const char* name) { return parse_tensor(fixed->required(name), fixed->path_of(name)); };
    o.fixed = {.latents = tensor("latents"), .noise = tensor("noise"), .timesteps = tensor("timesteps")};
  }
  if (const auto samples = fields.object("samples")) {
    train::LoraSamples& s = o.samples.emplace();
    samples->read("every", s.every);
    s.prompt_ids = parse_tensor(samples->required("prompt_ids"), samples->path_of("prompt_ids"));
    if (const auto negative = samples->optional("negative_ids")) s.negative_ids = parse_tensor(*negative, samples->path_of("negative_ids"));
    s.options = parse_picture_options(*samples);
  }
  return o;
}

std::vector<train::LoraExample> parse_lora_examples(const Fields& fields) {
  std::vector<train::LoraExample> examples;
  read_examples(fields, "images", "ids", false, examples);
  read_examples(fields, "prior_images", "prior_ids", true, examples);
  return examples;
}

}  // namespace seedbed::binding
