#pragma once

#include <cstdint>

namespace seedbed::train {

// Linear warm-up, then a cosine from `base` to `min`: over the whole run, the warm-up included (timm's CosineLRScheduler
// without warm-up prefix), or over what is left of it (`warmup_prefix`; transformers' and diffusers' "cosine"); or `base` for good.
struct LrSchedule {
  double base = 1e-3;
  double warmup = 1e-6;      // rate at step 0 when there is a warm-up
  double min = 1e-5;
  int64_t warmup_steps = 0;
  bool warmup_prefix = false;
  bool constant = false;
  int64_t total_steps = 1;
};

// The rate of step t, counted from 0.
double lr_at(const LrSchedule& schedule, int64_t t);

}  // namespace seedbed::train
