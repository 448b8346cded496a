#include "tensor/rng.h"

#include <ATen/CPUGeneratorImpl.h>

#include <cmath>
#include <numbers>

#include "tensor/splitmix.h"

namespace seedbed {

namespace {

uint64_t hash_text(std::string_view text) {  // FNV-1a
  uint64_t h = 0xCBF29CE484222325ULL;
  for (unsigned char c : text) h = (h ^ c) * 0x100000001B3ULL;
  return h;
}

}  // namespace

uint64_t derive_seed(uint64_t seed, std::string_view stream, std::initializer_list<uint64_t> indices) {
  uint64_t h = mix(mix(seed + kGolden) ^ hash_text(stream));
  for (uint64_t index : indices) h = mix((h + kGolden) ^ mix(index + kGolden));
  return h;
}

at::Generator make_generator(uint64_t seed) { return at::detail::createCPUGenerator(seed); }

uint64_t Rng::next() { return mix(state_ += kGolden); }

double Rng::uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

double Rng::uniform(double low, double high) { return low + (high - low) * uniform(); }

double Rng::normal() {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
  return radius * std::cos(2.0 * std::numbers::pi * uniform());
}

uint64_t Rng::below(uint64_t n) {
  const uint64_t reject = -n % n;  // draws below this would make small results likelier
  uint64_t draw = next();
  while (draw < reject) draw = next();
  return draw % n;
}

double Rng::gamma(double shape) {
  if (shape < 1) return gamma(shape + 1) * std::pow(1.0 - uniform(), 1 / shape);
  const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  while (true) {
    const double x = normal(), root = 1 + c * x;
    if (root <= 0) continue;
    const double v = root * root * root;
    if (std::log(1.0 - uniform()) < 0.5 * x * x + d - d * v + d * std::log(v)) return d * v;
  }
}

double Rng::beta(double a, double b) {
  const double x = gamma(a), y = gamma(b);
  return x + y > 0 ? x / (x + y) : 0.5;
}

}  // namespace seedbed
