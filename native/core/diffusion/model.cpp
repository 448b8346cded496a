#include "diffusion/model.h"

#include <ATen/ATen.h>

#include "tensor/check.h"

namespace seedbed::diffusion {

namespace {

void load(nn::Module& network, const WeightFiles& source, Part part, at::ScalarType dtype) {
  const NamedTensors file = read_weights(source.files), wanted = network.named_parameters();
  nn::adopt_parameters(network, source.original_layout ? from_original(file, part, wanted) : from_diffusers(file, wanted));
  network.prepare(dtype);
}

}  // namespace

Model::Model(const ModelFiles& files)
    : dtype(files.dtype),
      unet(files.unet),
      vae(files.vae),
      text_encoder(files.text_encoder),
      image_encoder(files.image_encoder ? std::make_unique<nn::ClipVision>(*files.image_encoder) : nullptr) {}

int64_t Model::parameter_count() const {
  return unet.parameter_count() + vae.parameter_count() + text_encoder.parameter_count() + (image_encoder ? image_encoder->parameter_count() : 0);
}

int64_t Model::bytes() const { return parameter_count() * static_cast<int64_t>(c10::elementSize(dtype)); }

std::shared_ptr<Model> load_model(const ModelFiles& files, const std::function<void(int64_t, int64_t, std::string_view)>& on_part) {
  auto model = std::make_shared<Model>(files);
  const int64_t parts = model->image_encoder ? 4 : 3;
  on_part(0, parts, "text encoder");
  load(model->text_encoder, files.text_encoder_files, Part::text_encoder, files.dtype);
  on_part(1, parts, "unet");
  load(model->unet, files.unet_files, Part::unet, files.dtype);
  on_part(2, parts, "vae");
  load(model->vae, files.vae_files, Part::vae, files.dtype);
  if (model->image_encoder) {
    on_part(3, parts, "image encoder");
    load(*model->image_encoder, files.image_encoder_files, Part::image_encoder, files.dtype);
  }
  return model;
}

at::Tensor encode_pixels(const Model& model, const at::Tensor& pixels, bool tiled, NoiseSource* noise, const nn::Poll& poll) {
  std::vector<at::Tensor> means, log_variances;  // [1, C, h, w]
  for (const at::Tensor& picture : pixels.split(1)) {
    const auto [mean, log_variance] = tiled ? model.vae.encode_tiled(picture, poll) : model.vae.encode(picture, poll);
    means.push_back(mean);
    log_variances.push_back(log_variance);
  }
  at::Tensor z = at::cat(means);
  if (noise != nullptr) z = z + at::exp(0.5 * at::cat(log_variances)) * noise->draw_like(z);
  return (z - model.vae.config().shift_factor) * model.vae.config().scaling_factor;
}

at::Tensor decode_latents(const Model& model, const at::Tensor& latents, bool tiled, const nn::Poll& poll) {
  return decode_unscaled(model, latents / model.vae.config().scaling_factor + model.vae.config().shift_factor, tiled, poll);
}

at::Tensor decode_unscaled(const Model& model, const at::Tensor& z, bool tiled, const nn::Poll& poll) {
  const at::Tensor pixels = tiled ? model.vae.decode_tiled(z, poll) : model.vae.decode(z, poll);
  check_finite(pixels, "the decoded pixels");
  return pixels;
}

}  // namespace seedbed::diffusion
