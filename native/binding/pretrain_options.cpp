#include "pretrain_options.h"

#include "diffusion/weights.h"
#include "diffusion_options.h"
#include "options.h"
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

}  // namespace seedbed::binding
