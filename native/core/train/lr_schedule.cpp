#include "train/lr_schedule.h"

#include <cmath>
#include <numbers>

namespace seedbed::train {

double lr_at(const LrSchedule& s, int64_t t) {
  const auto step = static_cast<double>(t);
  if (t < s.warmup_steps) return s.warmup + step * (s.base - s.warmup) / static_cast<double>(s.warmup_steps);
  if (s.constant) return s.base;
  if (t >= s.total_steps) return s.min;
  const auto prefix = static_cast<double>(s.warmup_prefix ? s.warmup_steps : 0);
  return s.min + 0.5 * (s.base - s.min) * (1 + std::cos(std::numbers::pi * (step - prefix) / (static_cast<double>(s.total_steps) - prefix)));
}

}  // namespace seedbed::train
