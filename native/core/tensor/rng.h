#pragma once

#include <ATen/core/Generator.h>

#include <cstdint>
#include <initializer_list>
#include <string_view>

namespace seedbed {

// A seed for one purpose (`stream`) and place (`indices`, say epoch and image) of a run. Streams never share draws:
// what one part of a run consumes cannot shift what another part sees, whatever the thread or order.
uint64_t derive_seed(uint64_t seed, std::string_view stream, std::initializer_list<uint64_t> indices = {});

// A CPU generator whose draws equal `torch.Generator().manual_seed(seed)`.
at::Generator make_generator(uint64_t seed);

// A small generator for per-image draws: SplitMix64 (Steele, Lea, Flood 2014), eight bytes of state, cheap to make.
class Rng {
 public:
  explicit Rng(uint64_t seed) : state_(seed) {}

  uint64_t next();
  double uniform();                        // [0, 1), 53 bits
  double uniform(double low, double high); // [low, high)
  double normal();                         // mean 0, standard deviation 1 (Box-Muller)
  uint64_t below(uint64_t n);              // [0, n), unbiased; n > 0
  double gamma(double shape);              // scale 1; shape > 0 (Marsaglia & Tsang 2000)
  double beta(double a, double b);         // in [0, 1]
  bool chance(double p) { return uniform() < p; }

 private:
  uint64_t state_;
};

}  // namespace seedbed
