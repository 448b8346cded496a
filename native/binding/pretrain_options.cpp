#include "pretrain_options.h"

#include "diffusion/weights.h"
#include "diffusion_options.h"
#include "options.h"
#include "sampler_options.h"
#include "values.h"

namespace seedbed::binding {

train::AutoencoderOptions parse_autoencoder_options(const Fields& fields) {
  train::AutoencoderOptions o;
  o.updates = parse_update_options(fields, o.updates);
  fields.read("batch_size", o.batch_size).read("shard_size", o.shard_size).read("crop", o.crop).read("whole_steps", o.whole_steps);
  fields.read("edge_weight", o.edge_weight).read("kl_weight", o.kl_weight).read("normalise", o.normalise).read("evaluate_every", o.evaluate_every).read("seed", o.seed);
  if (const auto fixed = fields.object("fixed")) {
    const auto tensor = [&](const char* name) { return parse_tensor(fixed->required(name), fixed->path_of(name)); };
    o.fixed = {.places = tensor("places"), .noise = tensor("noise")};
  }
  return o;
}

train::ClipOptions parse_clip_options(const Fields& fields) {
  train::ClipOptions o;
  o.updates = parse_update_options(fields, o.updates);
  fields.read("batch_size", o.batch_size).read("shard_size", o.shard_size).read("evaluate_every", o.evaluate_every).read("seed", o.seed);
  if (const auto augment = fields.object("augment")) o.augment = parse_augment_options(*augment);
  if (const auto fixed = fields.object("fixed")) o.fixed = {.places = parse_tensor(fixed->required("places"), fixed->path_of("places"))};
  return o;
}

train::DiffusionTrainOptions parse_diffusion_train_options(const Fields& fields) {
  train::DiffusionTrainOptions o;
  o.updates = parse_update_options(fields, o.updates);
  fields.read("batch_size", o.batch_size).read("shard_size", o.shard_size).read("caption_dropout", o.caption_dropout).read("noise_offset", o.noise_offset).read("text_lr", o.text_lr);
  fields.read("recompute", o.recompute).read("check_every", o.check_every).read("seed", o.seed).read("latents", o.latents);
  if (const auto weight = fields.object("snr_weight")) weight->read("lowest", o.weight.lowest).read("highest", o.weight.highest);
  o.noise = diffusion::make_noise_schedule(parse_noise_schedule_options(fields.required_object("schedule")));
  o.empty_caption = parse_tensor(fields.required("empty_caption"), fields.path_of("empty_caption"));
  if (const auto fixed = fields.object("fixed")) {
    const auto tensor = [&](const char* name) { return parse_tensor(fixed->required(name), fixed->path_of(name)); };
    o.fixed = {.latents = tensor("latents"), .noise = tensor("noise"), .timesteps = tensor("timesteps"), .ids = tensor("ids")};
  }
  return o;
}

}  // namespace seedbed::binding
