#pragma once

#include <string>
#include <vector>

#include "tensor/safetensors.h"

// Weight files of Stable Diffusion as they are published, brought to the names our networks use.

namespace seedbed::diffusion {

// All tensors of one or more safetensors files, memory-mapped. Throws ERR_WEIGHTS when a name stands in two files.
// int8 tensors come as float32, times the scale of each row, `<name>.scale` [rows].
NamedTensors read_weights(const std::vector<std::string>& files);

// Tensors as a file of this type holds them. int8: those of two dimensions and more as whole numbers up to 127 with a scale for each
// row, the largest of its magnitudes over 127; others float32.
NamedTensors stored_as(const NamedTensors& tensors, at::ScalarType dtype);

// A diffusers component as older releases saved it, under the names of today: the autoencoder's attention was called
// query, key, value, proj_attn, and the text encoder stored its position ids. Transformers since 5.6 leaves out the first
// part of the towers' names ("text_model."). `wanted` are the names and shapes of our network.
NamedTensors from_diffusers(const NamedTensors& file, const NamedTensors& wanted);

// The parts of a single-file checkpoint in the original (CompVis, Stability) layout. `wanted` are the names and shapes
// of our network; each is looked up under its original name and reshaped or split where the layouts differ.
// Throws ERR_WEIGHTS that lists what is missing or left over in the part.
enum class Part { unet, vae, text_encoder, image_encoder };
NamedTensors from_original(const NamedTensors& file, Part part, const NamedTensors& wanted);

// The original name of a parameter of ours, without the part's prefix, for SD 1.x and the UNet and autoencoder of 2.x.
std::string original_unet_name(const std::string& name, int64_t layers_per_block);
std::string original_vae_name(const std::string& name, int64_t levels);

}  // namespace seedbed::diffusion
