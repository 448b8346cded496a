#include "diffusion_options.h"

#include "names.h"
#include "sampler_options.h"
#include "tensor/dtype.h"
#include "values.h"

namespace seedbed::binding {

namespace {

constexpr Names<nn::Activation, 2> kActivation{{{"quick_gelu", nn::Activation::quick_gelu}, {"gelu", nn::Activation::gelu}}};
constexpr Names<diffusion::InversionKind, 2> kInversion{{{"ddim", diffusion::InversionKind::ddim}, {"edit-friendly", diffusion::InversionKind::edit_friendly}}};

// Whether each block type attends to the prompt.
std::vector<bool> read_attention(const Fields& fields, std::string_view name) {
  std::vector<std::string> types;
  fields.read(name, types);
  std::vector<bool> attention;
  for (const std::string& type : types) attention.push_back(type.starts_with("CrossAttn"));
  return attention;
}

void read_clip_layers(const Fields& fields, nn::ClipLayers& c) {
  fields.read("width", c.width).read("intermediate_size", c.intermediate_size).read("layers", c.layers).read("heads", c.heads);
  fields.read("activation", names(kActivation), c.activation).read("layer_norm_eps", c.layer_norm_eps).read("projection_dim", c.projection_dim);
}

at::Tensor optional_tensor(const Fields& fields, std::string_view name) {
  const auto value = fields.optional(name);
  return value ? parse_tensor(*value, fields.path_of(name)) : at::Tensor();
}

// All but the prompts.
diffusion::Guidance parse_guidance_strength(const Fields& fields) {
  diffusion::Guidance g;
  fields.read("guidance_scale", g.scale).read("guidance_rescale", g.rescale);
  g.free_u = parse_free_u(fields);
  g.token_merging = parse_token_merging(fields);
  if (const auto cache = fields.object("feature_cache")) {
    nn::FeatureCacheOptions& c = g.feature_cache.emplace();
    cache->read("interval", c.interval).read("branch", c.branch);
  }
  return g;
}

}  // namespace

nn::UnetConfig parse_unet_config(const Fields& fields) {
  nn::UnetConfig c;
  fields.read("sample_size", c.sample_size).read("in_channels", c.in_channels).read("out_channels", c.out_channels);
  fields.read("block_out_channels", c.block_out_channels).read("attention_heads", c.attention_heads).read("layers_per_block", c.layers_per_block);
  fields.read("cross_attention_dim", c.cross_attention_dim).read("use_linear_projection", c.use_linear_projection);
  fields.read("norm_groups", c.norm_groups).read("norm_eps", c.norm_eps).read("flip_sin_to_cos", c.flip_sin_to_cos).read("freq_shift", c.freq_shift);
  c.down_attention = read_attention(fields, "down_block_types");
  c.up_attention = read_attention(fields, "up_block_types");
  return c;
}

nn::VaeConfig parse_vae_config(const Fields& fields) {
  nn::VaeConfig c;
  fields.read("in_channels", c.in_channels).read("out_channels", c.out_channels).read("latent_channels", c.latent_channels);
  fields.read("block_out_channels", c.block_out_channels).read("layers_per_block", c.layers_per_block).read("norm_groups", c.norm_groups);
  fields.read("scaling_factor", c.scaling_factor).read("shift_factor", c.shift_factor).read("sample_size", c.sample_size);
  fields.read("use_quant_conv", c.use_quant_conv).read("use_post_quant_conv", c.use_post_quant_conv).read("mid_block_add_attention", c.mid_block_attention);
  return c;
}

nn::ClipTextConfig parse_text_config(const Fields& fields) {
  nn::ClipTextConfig c;
  read_clip_layers(fields, c);
  fields.read("vocab_size", c.vocab_size).read("max_positions", c.max_positions).read("eos_token_id", c.eos_token_id);
  return c;
}

nn::ClipVisionConfig parse_vision_config(const Fields& fields) {
  nn::ClipVisionConfig c;
  read_clip_layers(fields, c);
  fields.read("image_size", c.image_size).read("patch_size", c.patch_size).read("channels", c.channels);
  return c;
}

diffusion::WeightFiles parse_weight_files(const Fields& fields) {
  diffusion::WeightFiles w;
  fields.read("files", w.files).read("original_layout", w.original_layout);
  return w;
}

diffusion::ModelFiles parse_model_files(const Fields& fields) {
  diffusion::ModelFiles m;
  const auto part = [&](std::string_view name) { return fields.required_object(name); };
  const auto config = [](const Fields& component) { return component.required_object("config"); };
  m.unet = parse_unet_config(config(part("unet")));
  m.unet_files = parse_weight_files(part("unet"));
  m.vae = parse_vae_config(config(part("vae")));
  m.vae_files = parse_weight_files(part("vae"));
  m.text_encoder = parse_text_config(config(part("text_encoder")));
  m.text_encoder_files = parse_weight_files(part("text_encoder"));
  if (const auto vision = fields.object("image_encoder")) {
    m.image_encoder = parse_vision_config(config(*vision));
    m.image_encoder_files = parse_weight_files(*vision);
  }
  std::string dtype = "float32", device = "cpu";
  fields.read("dtype", dtype).read("device", device);
  m.placement = {at::Device(device), dtype_from_name(dtype)};
  return m;
}

std::optional<nn::FreeU> parse_free_u(const Fields& fields) {
  const auto free_u = fields.object("free_u");
  if (!free_u) return std::nullopt;
  nn::FreeU f;
  free_u->read("s1", f.s1).read("s2", f.s2).read("b1", f.b1).read("b2", f.b2);
  return f;
}

std::optional<nn::TokenMerging> parse_token_merging(const Fields& fields) {
  const auto merging = fields.object("token_merging");
  if (!merging) return std::nullopt;
  nn::TokenMerging m;
  merging->read("ratio", m.ratio).read("random", m.random);
  return m;
}

nn::AttentionControlOptions parse_attention(const Fields& fields) {
  nn::AttentionControlOptions a;
  const auto attention = fields.object("attention");
  if (!attention) return a;
  const auto scope = [](const Fields& control, nn::AttentionScope& s) {
    control.read("layers", s.layers).read("lowest_timestep", s.lowest_timestep).read("highest_timestep", s.highest_timestep);
  };
  for (const Fields& swap : attention->objects("swap")) {
    nn::SwapOptions& o = a.swap.emplace_back();
    scope(swap, o.scope);
    swap.read("from", o.from).read("to", o.to);
  }
  for (const Fields& contrast : attention->objects("contrast")) {
    nn::ContrastOptions& o = a.contrast.emplace_back();
    scope(contrast, o.scope);
    contrast.read("strength", o.strength).read("pictures", o.pictures);
  }
  if (const auto record = attention->object("record")) {
    nn::RecordOptions& o = a.record.emplace();
    scope(*record, o.scope);
    record->read("mean_heads", o.mean_heads).read("mean_steps", o.mean_steps);
  }
  return a;
}

diffusion::Guidance parse_guidance(const Fields& fields) {
  diffusion::Guidance g = parse_guidance_strength(fields);
  g.prompt = parse_tensor(fields.required("prompt"), fields.path_of("prompt"));
  g.negative_prompt = optional_tensor(fields, "negative_prompt");
  return g;
}

diffusion::GenerateOptions parse_generate_options(const Fields& fields) {
  diffusion::GenerateOptions o = parse_picture_options(fields);
  o.guidance = parse_guidance(fields);
  return o;
}

diffusion::GenerateOptions parse_picture_options(const Fields& fields) {
  diffusion::GenerateOptions o;
  o.guidance = parse_guidance_strength(fields);
  o.sampler = parse_sampler_options(fields.required_object("sampler"));
  o.schedule = diffusion::make_noise_schedule(parse_noise_schedule_options(fields.required_object("schedule")));
  fields.read("seeds", o.seeds).read("width", o.width).read("height", o.height).read("strength", o.strength).read("batch_size", o.batch_size);
  fields.read("preview_every", o.preview_every).read("tiled", o.tiled).read("decode", o.decode);
  o.latents = optional_tensor(fields, "latents");
  o.image = optional_tensor(fields, "image");
  o.mask = optional_tensor(fields, "mask");
  o.attention = parse_attention(fields);
  return o;
}

diffusion::InversionKind parse_inversion_kind(const Fields& fields) {
  auto kind = diffusion::InversionKind::ddim;
  fields.read("kind", names(kInversion), kind);
  return kind;
}

void add_diffusion_enum_names(Napi::Env env, Napi::Object enums) {
  enums.Set("activation", emit_names(env, kActivation));
  enums.Set("inversion", emit_names(env, kInversion));
}

}  // namespace seedbed::binding
