#include "fractal_values.h"

#include <array>

namespace seedbed::binding {

namespace {

Napi::Value emit_affine(Napi::Env env, const std::vector<fractal::AffineMap>& affine) {
  return emit_list(env, affine, [env](const fractal::AffineMap& map) {
    const std::array<std::array<double, 3>, 2> rows{{{map[0], map[1], map[2]}, {map[3], map[4], map[5]}}};
    return emit_list(env, rows, [env](const auto& row) { return emit_list(env, row, [env](double v) { return Napi::Number::New(env, v); }); });
  });
}

}  // namespace

Napi::Value emit_numbers(Napi::Env env, const std::vector<double>& numbers) {
  return emit_list(env, numbers, [env](double v) { return Napi::Number::New(env, v); });
}

Napi::Value emit_ifs(Napi::Env env, const fractal::Ifs& ifs) {
  return emit_object(env, {{"affine", emit_affine(env, ifs.affine)}, {"weights", emit_numbers(env, ifs.weights)}});
}

Napi::Value emit_systems(Napi::Env env, const std::vector<fractal::Ifs>& systems) {
  return emit_list(env, systems, [env](const fractal::Ifs& ifs) { return emit_ifs(env, ifs); });
}

Napi::Value emit_seeds(Napi::Env env, const std::vector<uint64_t>& seeds) {
  return emit_list(env, seeds, [env](uint64_t seed) { return Napi::BigInt::New(env, seed); });
}

}  // namespace seedbed::binding
