#include "diffusion/weights.h"

#include <ATen/ATen.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string_view>
#include <limits>
#include <unordered_map>
#include <unordered_set>

#include "tensor/error.h"

namespace seedbed::diffusion {

namespace {

constexpr std::string_view kScale = ".scale";  // behind the name of an int8 weight
constexpr double kLargestInt8 = 127;

using Renames = std::vector<std::pair<std::string_view, std::string_view>>;

constexpr std::string_view kUnetPrefix = "model.diffusion_model.";
constexpr std::string_view kVaePrefix = "first_stage_model.";
constexpr std::string_view kTextPrefix = "cond_stage_model.transformer.";
constexpr std::string_view kOpenClipPrefix = "cond_stage_model.model.";
constexpr std::string_view kTextModel = "text_model.";

const Renames kUnetResnet{{"norm1.", "in_layers.0."},      {"conv1.", "in_layers.2."},  {"time_emb_proj.", "emb_layers.1."},
                          {"norm2.", "out_layers.0."},     {"conv2.", "out_layers.3."}, {"conv_shortcut.", "skip_connection."}};
const Renames kUnetOutside{{"time_embedding.linear_1.", "time_embed.0."}, {"time_embedding.linear_2.", "time_embed.2."},
                           {"conv_in.", "input_blocks.0.0."},             {"conv_norm_out.", "out.0."},
                           {"conv_out.", "out.2."},                       {"mid_block.attentions.0.", "middle_block.1."}};
const Renames kVaeMiddle{{"mid_block.resnets.0.", "mid.block_1."}, {"mid_block.resnets.1.", "mid.block_2."}, {"mid_block.attentions.0.", "mid.attn_1."},
                         {"conv_norm_out.", "norm_out."},          {"conv_shortcut.", "nin_shortcut."},      {"group_norm.", "norm."},
                         {"to_q.", "q."},                          {"to_k.", "k."},                          {"to_v.", "v."},
                         {"to_out.0.", "proj_out."}};
const Renames kOldVaeAttention{{".query.", ".to_q."}, {".key.", ".to_k."}, {".value.", ".to_v."}, {".proj_attn.", ".to_out.0."}};
const Renames kOpenClipLayer{{"self_attn.out_proj.", "attn.out_proj."}, {"layer_norm1.", "ln_1."}, {"layer_norm2.", "ln_2."}, {"mlp.fc1.", "mlp.c_fc."}, {"mlp.fc2.", "mlp.c_proj."}};
const Renames kOpenClipOutside{{"text_model.embeddings.token_embedding.weight", "token_embedding.weight"},
                               {"text_model.embeddings.position_embedding.weight", "positional_embedding"},
                               {"text_model.final_layer_norm.", "ln_final."},
                               {"text_projection.weight", "text_projection"}};

void replace(std::string& text, std::string_view from, std::string_view to) {
  const size_t at = text.find(from);
  if (at != std::string::npos) text.replace(at, from.size(), to);
}

std::string renamed(std::string name, const Renames& renames) {
  for (const auto& [from, to] : renames) replace(name, from, to);
  return name;
}

// The number after `prefix`, and what follows its dot; nothing when the name does not begin so.
std::optional<std::pair<int64_t, std::string_view>> indexed(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return std::nullopt;
  name.remove_prefix(prefix.size());
  int64_t index = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), index);
  if (error != std::errc() || end == name.data() + name.size()) return std::nullopt;
  return std::pair(index, name.substr(static_cast<size_t>(end - name.data()) + 1));
}

std::string shape_text(at::IntArrayRef shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

// Original checkpoints hold linear layers of the autoencoder as 1 x 1 convolutions, and OpenCLIP's projection transposed.
at::Tensor fitted(const std::string& name, const at::Tensor& found, const at::Tensor& wanted) {
  if (name == "text_projection.weight" && found.dim() == 2) return found.t();
  if (found.sizes() == wanted.sizes()) return found;
  const bool pointwise = found.dim() == 4 && wanted.dim() == 2 && found.size(2) == 1 && found.size(3) == 1;
  if (pointwise && found.size(0) == wanted.size(0) && found.size(1) == wanted.size(1)) return found.flatten(1);
  fail(ErrorCode::weights, "The weights do not fit the model: {} has shape {}, expected {}", name, shape_text(found.sizes()), shape_text(wanted.sizes()));
}

// Where a parameter lies in the original file: its name there, and which third of it for OpenCLIP's joined projections.
struct Place {
  std::string name;
  int64_t third = -1;
};

Place open_clip_place(const std::string& name) {
  const auto layer = indexed(name, "text_model.encoder.layers.");
  if (!layer) return {renamed(name, kOpenClipOutside)};
  const auto& [index, rest] = *layer;
  const std::string block = fmt::format("transformer.resblocks.{}.", index);
  for (int64_t third = 0; third < 3; ++third) {
    const std::string projection = fmt::format("self_attn.{}_proj.", "qkv"[third]);
    if (rest.starts_with(projection)) return {block + "attn.in_proj_" + std::string(rest.substr(projection.size())), third};
  }
  return {block + renamed(std::string(rest), kOpenClipLayer)};
}

int64_t count_indices(const NamedTensors& wanted, std::string_view prefix) {
  int64_t count = 0;
  for (const auto& [name, value] : wanted)
    if (const auto found = indexed(name, prefix)) count = std::max(count, found->first + 1);
  return count;
}

// Left over on purpose: buffers, and the layers of OpenCLIP after the last that is read.
bool may_be_left(std::string_view name, int64_t text_layers) {
  if (name.ends_with("position_ids") || name == "logit_scale" || name == "text_projection" || name == "attn_mask") return true;
  const auto layer = indexed(name, "transformer.resblocks.");
  return layer && layer->first >= text_layers;
}

NamedTensors dequantised(const NamedTensors& tensors) {
  std::unordered_map<std::string, at::Tensor> scales;
  for (const auto& [name, value] : tensors)
    if (name.ends_with(kScale)) scales[name.substr(0, name.size() - kScale.size())] = value;
  if (scales.empty()) return tensors;
  NamedTensors out;
  for (const auto& [name, value] : tensors) {
    if (name.ends_with(kScale)) continue;
    const auto found = scales.find(name);
    if (found == scales.end() && value.scalar_type() != at::kChar) {
      out.emplace_back(name, value);
      continue;
    }
    const bool fits = found != scales.end() && value.scalar_type() == at::kChar && value.dim() > 0 && found->second.sizes() == at::IntArrayRef({value.size(0)}) && found->second.is_floating_point();
    if (!fits) fail(ErrorCode::weights, "Expected int8 for '{}' and a scale for each of its rows in '{}{}'", name, name, kScale);
    std::vector<int64_t> rows(value.dim(), 1);
    rows[0] = value.size(0);
    out.emplace_back(name, value.to(at::kFloat) * found->second.to(at::kFloat).view(rows));
    scales.erase(found);
  }
  if (!scales.empty()) fail(ErrorCode::weights, "Expected int8 weights '{}' beside their scales, found none", scales.begin()->first);
  return out;
}

}  // namespace

NamedTensors read_weights(const std::vector<std::string>& files) {
  NamedTensors tensors;
  std::unordered_set<std::string> seen;
  for (const std::string& path : files) {
    const SafetensorsFile file(path);
    for (const std::string& name : file.names()) {
      if (!seen.insert(name).second) fail(ErrorCode::weights, "Expected each tensor once, '{}' stands in two of the files, again in '{}'", name, path);
      tensors.emplace_back(name, file.tensor(name));
    }
  }
  return dequantised(tensors);
}

NamedTensors stored_as(const NamedTensors& tensors, at::ScalarType dtype) {
  NamedTensors out;
  for (const auto& [name, given] : tensors) {
    const at::Tensor value = given.to(at::kCPU);
    if (dtype != at::kChar || value.dim() < 2) {
      out.emplace_back(name, value.to(dtype == at::kChar ? at::kFloat : dtype));
      continue;
    }
    const at::Tensor rows = value.to(at::kFloat).flatten(1), scale = (rows.abs().amax(1) / kLargestInt8).clamp_min(std::numeric_limits<float>::min());
    out.emplace_back(name, (rows / scale.unsqueeze(1)).round().to(at::kChar).view(value.sizes()));
    out.emplace_back(name + std::string(kScale), scale);
  }
  return out;
}

NamedTensors from_diffusers(const NamedTensors& file, const NamedTensors& wanted) {
  std::unordered_set<std::string> known;
  for (const auto& [name, value] : wanted) known.insert(name);
  const auto today = [&](const std::string& name) {
    if (known.contains(name)) return name;
    for (const std::string_view tower : {"text_model.", "vision_model."})
      if (known.contains(std::string(tower) + name)) return std::string(tower) + name;
    const std::string attention = renamed(name, kOldVaeAttention);
    return known.contains(attention) ? attention : name;
  };
  NamedTensors out;
  for (const auto& [name, value] : file) {
    if (name.ends_with("position_ids")) continue;
    const std::string ours = today(name);
    // Older autoencoders hold these as 1 x 1 convolutions.
    out.emplace_back(ours, ours != name && value.dim() == 4 ? value.flatten(1) : value);
  }
  return out;
}

std::string original_unet_name(const std::string& name, int64_t layers_per_block) {
  const int64_t stride = layers_per_block + 1;
  if (const auto resnet = indexed(name, "mid_block.resnets.")) return fmt::format("middle_block.{}.{}", 2 * resnet->first, renamed(std::string(resnet->second), kUnetResnet));
  for (const auto& [ours, original, first] : {std::tuple("down_blocks.", "input_blocks", int64_t{1}), std::tuple("up_blocks.", "output_blocks", int64_t{0})}) {
    const auto level = indexed(name, ours);
    if (!level) continue;
    const int64_t begin = first + level->first * stride;
    if (const auto r = indexed(level->second, "resnets.")) return fmt::format("{}.{}.0.{}", original, begin + r->first, renamed(std::string(r->second), kUnetResnet));
    if (const auto a = indexed(level->second, "attentions.")) return fmt::format("{}.{}.1.{}", original, begin + a->first, a->second);
    if (const auto d = indexed(level->second, "downsamplers.")) return fmt::format("{}.{}.0.op.{}", original, begin + layers_per_block, d->second.substr(sizeof("conv.") - 1));
    if (const auto u = indexed(level->second, "upsamplers.")) return fmt::format("{}.{}.?.{}", original, begin + layers_per_block, u->second);
  }
  return renamed(name, kUnetOutside);
}

std::string original_vae_name(const std::string& name, int64_t levels) {
  for (const auto& [ours, original] : {std::pair("encoder.down_blocks.", "encoder.down"), std::pair("decoder.up_blocks.", "decoder.up")}) {
    const auto level = indexed(name, ours);
    if (!level) continue;
    const int64_t index = std::string_view(original).ends_with("up") ? levels - 1 - level->first : level->first;
    if (const auto r = indexed(level->second, "resnets.")) return fmt::format("{}.{}.block.{}.{}", original, index, r->first, renamed(std::string(r->second), kVaeMiddle));
    if (const auto d = indexed(level->second, "downsamplers.")) return fmt::format("{}.{}.downsample.{}", original, index, d->second);
    if (const auto u = indexed(level->second, "upsamplers.")) return fmt::format("{}.{}.upsample.{}", original, index, u->second);
  }
  return renamed(name, kVaeMiddle);
}

NamedTensors from_original(const NamedTensors& file, Part part, const NamedTensors& wanted) {
  const auto has_prefix = [&](std::string_view prefix) { return std::ranges::any_of(file, [&](const auto& item) { return item.first.starts_with(prefix); }); };
  const bool open_clip = part == Part::text_encoder && has_prefix(kOpenClipPrefix);
  const bool old_clip = !open_clip && !has_prefix(std::string(kTextPrefix) + std::string(kTextModel));  // some older files leave it out
  const std::string_view prefix = part == Part::unet ? kUnetPrefix : part == Part::vae ? kVaePrefix : open_clip ? kOpenClipPrefix : kTextPrefix;

  std::unordered_map<std::string, at::Tensor> found;
  for (const auto& [name, value] : file)
    if (name.starts_with(prefix)) found.emplace(name.substr(prefix.size()), value);

  const int64_t layers_per_block = count_indices(wanted, "down_blocks.0.resnets."), levels = count_indices(wanted, "encoder.down_blocks.");
  const auto place_of = [&](const std::string& name) -> Place {
    switch (part) {
      case Part::unet: {
        // The upsampler follows the attention where its level has one.
        std::string original = original_unet_name(name, layers_per_block);
        const size_t unknown = original.find('?');
        if (unknown != std::string::npos) {
          original[unknown] = '2';
          if (!found.contains(original)) original[unknown] = '1';
        }
        return {original};
      }
      case Part::vae: return {original_vae_name(name, levels)};
      case Part::text_encoder: return open_clip ? open_clip_place(name) : Place{old_clip ? name.substr(kTextModel.size()) : name};
      case Part::image_encoder: break;  // no such file holds one
    }
    fail(ErrorCode::weights, "Expected no image encoder in a file of the original layout");
  };

  NamedTensors out;
  std::vector<std::string> missing, unexpected;
  std::unordered_set<std::string> used;
  for (const auto& [name, value] : wanted) {
    const Place place = place_of(name);
    const auto item = found.find(place.name);
    if (item == found.end()) {
      missing.push_back(std::string(prefix) + place.name);
      continue;
    }
    used.insert(place.name);
    const bool divisible = place.third < 0 || (item->second.dim() > 0 && item->second.size(0) == 3 * value.size(0));
    if (!divisible) fail(ErrorCode::weights, "The weights do not fit the model: {} has shape {}", place.name, shape_text(item->second.sizes()));
    out.emplace_back(name, fitted(name, place.third < 0 ? item->second : item->second.chunk(3)[static_cast<size_t>(place.third)], value));
  }
  const int64_t text_layers = count_indices(wanted, "text_model.encoder.layers.");
  for (const auto& [name, value] : found)
    if (!used.contains(name) && !may_be_left(name, text_layers)) unexpected.push_back(std::string(prefix) + name);
  std::ranges::sort(missing);
  missing.erase(std::unique(missing.begin(), missing.end()), missing.end());  // OpenCLIP's joined projections are looked up three times
  std::ranges::sort(unexpected);
  if (!missing.empty() || !unexpected.empty()) fail(ErrorCode::weights, "The weights do not fit the model{}{}", list_names("missing", missing), list_names("unexpected", unexpected));
  return out;
}

}  // namespace seedbed::diffusion
