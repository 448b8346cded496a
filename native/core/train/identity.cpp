#include "train/identity.h"

#include <ATen/ATen.h>

#include "tensor/rng.h"

namespace seedbed::train {

std::string describe(const UpdateOptions& u) {
  const OptimizerOptions& o = u.optimizer;
  const LrSchedule& s = u.schedule;
  return fmt::format("steps {} optimizer {} {} {} {} {} {} {} lr {} {} {} {} {} {} clip {} average {}{}", u.steps, static_cast<int>(o.kind), o.weight_decay, o.beta1, o.beta2, o.eps, o.momentum, o.nesterov, s.base,
                     s.warmup, s.min, s.warmup_steps, s.warmup_prefix, s.constant, u.clip_norm, u.average_decay, u.precision == nn::Precision::float32 ? "" : " bfloat16");
}

std::string describe(const image::AugmentOptions& a) {
  const image::RandAugmentOptions r = a.rand_augment.value_or(image::RandAugmentOptions{.ops = 0});
  const image::RandomErasingOptions e = a.random_erasing.value_or(image::RandomErasingOptions{.probability = 0});
  return fmt::format("crop {} {} {} {} flip {} {} colourise {} rand {} {} {} {} {} erase {} {} {} {}", a.min_scale, a.max_scale, a.min_ratio, a.max_ratio, a.flip, a.flip_vertical, a.colourise, r.ops, r.magnitude,
                     r.magnitude_std, r.probability, r.fill, e.probability, e.min_area, e.max_area, e.min_aspect);
}

uint64_t fingerprint(const at::Tensor& tensor) {
  if (!tensor.defined()) return 0;
  const at::Tensor rows = tensor.detach().contiguous();
  uint64_t mark = derive_seed(0, std::string_view(static_cast<const char*>(rows.const_data_ptr()), rows.nbytes()));
  for (const int64_t size : rows.sizes()) mark = derive_seed(mark, "size", {static_cast<uint64_t>(size)});
  return mark;
}

uint64_t fingerprint(const NamedTensors& tensors) {
  uint64_t mark = 0;
  for (const auto& [name, value] : tensors) mark = derive_seed(mark, name, {fingerprint(value)});
  return mark;
}

}  // namespace seedbed::train
