#include "diffusion/model.h"

#include <ATen/ATen.h>
#include <c10/core/CachingDeviceAllocator.h>

#include "tensor/error.h"

#include "tensor/check.h"

namespace seedbed::diffusion {

namespace {

void load(nn::Module& network, const WeightFiles& source, Part part, const nn::Placement& placement) {
  const NamedTensors file = read_weights(source.files), wanted = network.named_parameters();
  nn::adopt_parameters(network, source.original_layout ? from_original(file, part, wanted) : from_diffusers(file, wanted));
  network.prepare(placement);
}

void check_device(const at::Device& device) {
  if (device.is_cuda() && !at::hasCUDA()) fail(ErrorCode::no_cuda, "Expected a GPU for device 'cuda', libtorch found none");
}

// libtorch keeps freed blocks of a GPU for itself; other programs get them back with the model.
void destroy(const Model* model) {
  const at::Device device = model->placement.device;
  delete model;
  if (!device.is_cuda()) return;
  try {
    c10::getDeviceAllocator(device.type())->emptyCache();
  } catch (const c10::Error&) {  // a GPU that has failed: the next call says so, a destructor cannot
  }
}

}  // namespace

Model::Model(const ModelFiles& files)
    : placement(files.placement),
      unet(files.unet),
      vae(files.vae),
      text_encoder(files.text_encoder),
      image_encoder(files.image_encoder ? std::make_unique<nn::ClipVision>(*files.image_encoder) : nullptr) {}

int64_t Model::parameter_count() const {
  return unet.parameter_count() + vae.parameter_count() + text_encoder.parameter_count() + (image_encoder ? image_encoder->parameter_count() : 0);
}

int64_t Model::bytes() const {
  const auto bytes = [](int64_t parameters, const nn::Placement& placement) { return parameters * static_cast<int64_t>(c10::elementSize(placement.dtype)); };
  return bytes(parameter_count() - vae.parameter_count(), placement) + bytes(vae.parameter_count(), vae_placement(placement));
}

nn::Placement vae_placement(const nn::Placement& model) { return {model.device, model.dtype == at::kHalf ? at::kFloat : model.dtype}; }

std::shared_ptr<Model> load_model(const ModelFiles& files, const std::function<void(int64_t, int64_t, std::string_view)>& on_part) {
  check_device(files.placement.device);
  const std::shared_ptr<Model> model(new Model(files), destroy);
  const int64_t parts = model->image_encoder ? 4 : 3;
  on_part(0, parts, "text encoder");
  load(model->text_encoder, files.text_encoder_files, Part::text_encoder, files.placement);
  on_part(1, parts, "unet");
  load(model->unet, files.unet_files, Part::unet, files.placement);
  on_part(2, parts, "vae");
  load(model->vae, files.vae_files, Part::vae, vae_placement(files.placement));
  if (model->image_encoder) {
    on_part(3, parts, "image encoder");
    load(*model->image_encoder, files.image_encoder_files, Part::image_encoder, files.placement);
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
