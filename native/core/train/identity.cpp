#include "train/identity.h"

#include <ATen/ATen.h>

#include "tensor/rng.h"

namespace seedbed::train {

std::string describe(const UpdateOptions& u) {
  const OptimizerOptions& o = u.optimizer;
  const LrSchedule& s = u.schedule;
  return fmt::format("steps {} optimizer {} {} {} {} {} {} lr {} {} {} {} {} {} clip {} average {}", u.steps, static_cast<int>(o.kind), o.weight_decay, o.beta1, o.beta2, o.eps, o.momentum, s.base,
                     s.warmup, s.min, s.warmup_steps, s.warmup_prefix, s.constant, u.clip_norm, u.average_decay);
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
