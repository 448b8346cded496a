#include "fractal/contour.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>
#include <numbers>

#include "fractal/line.h"
#include "tensor/check.h"
#include "tensor/error.h"
#include "tensor/rng.h"

namespace seedbed::fractal {

namespace {

constexpr double kReferenceSize = 512;     // pixels that the sets' lengths are given in
constexpr double kNoiseLength = 10'000;    // noise is read at U(0, kNoiseLength)
constexpr double kRcdbVertexMean = 100;    // of the exponential draw
constexpr int kRcdbCentreShift = 400;      // the centre is (512 + U{-400 .. 400}) / 2

int between(Rng& rng, int low, int high) { return low + static_cast<int>(rng.below(high - low + 1)); }

int exponential_vertices(Rng& rng) {
  while (true) {
    const double draw = -kRcdbVertexMean * std::log(1 - rng.uniform());
    if (draw >= 3 && draw < 201) return static_cast<int>(draw);
  }
}

ContourClass draw_class(ContourSet set, int64_t index, uint64_t seed) {
  const auto place = static_cast<uint64_t>(index), kind = static_cast<uint64_t>(set);
  Rng rng(derive_seed(seed, "contour class", {kind, place}));
  ContourClass c{.set = set, .seed = derive_seed(seed, "contour", {kind, place})};
  c.vertices = set == ContourSet::rcdb ? exponential_vertices(rng) : between(rng, 200, 1000);
  c.lines = between(rng, 1, 200);
  c.coefficient = rng.uniform(0, 4);
  c.width = rng.uniform(0, 0.1);
  if (set == ContourSet::rcdb) return c;
  c.frequency_1 = between(rng, 0, 20);
  do c.frequency_2 = between(rng, 0, 20);
  while (c.frequency_2 == c.frequency_1 && c.frequency_1 != 0);
  return c;
}

void check_class(const ContourClass& c) {
  check_range(int64_t{c.vertices}, "vertices", 3, 4096);
  check_range(int64_t{c.lines}, "lines", 1, 1000);
  check_range(c.coefficient, "coefficient", 0.0, 10.0);
  check_range(c.width, "width", 0.0, 1.0);
  for (const int frequency : {c.frequency_1, c.frequency_2}) check_range(int64_t{frequency}, "frequencies", 0, 1000);
}

void check_options(const ContourOptions& o) {
  check_range(o.size, "size", 16, 8192);
  check_range(o.instances, "instances", 1, 1'000'000);
  check_range(o.first_instance, "firstInstance", 0, 1'000'000'000);
}

// Gradient noise on a line (Perlin 1985, with the fade of 2002), in [0, 1]: gradients U(-1, 1) at the integers.
class Noise {
 public:
  explicit Noise(uint64_t seed) : seed_(seed) {}

  double at(double x) const {
    const double whole = std::floor(x), t = x - whole;
    const double fade = t * t * t * (t * (t * 6 - 15) + 10);
    const double left = gradient(whole) * t, right = gradient(whole + 1) * (t - 1);
    return 0.5 + left + fade * (right - left);
  }

 private:
  double gradient(double place) const { return Rng(derive_seed(seed_, "gradient", {static_cast<uint64_t>(place)})).uniform(-1, 1); }

  uint64_t seed_;
};

struct Vertex {
  double x, y;
};

// The vertices of the first polygon: an ellipse. Its size and place are the instance's.
std::vector<Vertex> first_polygon(const ContourClass& c, Rng& rng) {
  const bool rcdb = c.set == ContourSet::rcdb;
  const double radius = rcdb ? between(rng, 0, 99) : between(rng, 10, 60), oval = rng.uniform(1, 2);
  const auto centre = [&] { return rcdb ? (kReferenceSize + between(rng, -kRcdbCentreShift, kRcdbCentreShift)) / 2 : kReferenceSize / 2; };
  const double x = centre(), y = centre();
  std::vector<Vertex> polygon(c.vertices);
  for (int i = 0; i < c.vertices; ++i) {
    const double theta = 2 * std::numbers::pi * i / c.vertices;
    polygon[i] = {x + oval * radius * std::cos(theta), y + radius * std::sin(theta)};
  }
  return polygon;
}

// Moves each vertex along its direction; x and y read the noise at places of their own.
void move_outwards(const ContourClass& c, const Noise& noise, Rng& rng, std::vector<Vertex>& polygon) {
  const double noise_share = c.set == ContourSet::rcdb ? 2 : 1;
  for (int i = 0; i < c.vertices; ++i) {
    const double theta = 2 * std::numbers::pi * i / c.vertices;
    const double waves = (std::sin(c.frequency_1 * theta) + std::sin(c.frequency_2 * theta)) / 2;
    const auto step = [&] { return c.coefficient * (1 - noise_share * noise.at(rng.uniform(0, kNoiseLength))) + waves + c.width; };
    polygon[i].x += step() * std::cos(theta);
    polygon[i].y += step() * std::sin(theta);
  }
}

// One picture into `pixels` [size, size].
void draw_instance(const ContourClass& c, int64_t instance, int64_t size, uint8_t* pixels) {
  Rng rng(derive_seed(c.seed, "instance", {static_cast<uint64_t>(instance)}));
  const Noise noise(c.seed);
  const double scale = static_cast<double>(size) / kReferenceSize;
  std::memset(pixels, c.set == ContourSet::rcdb ? 255 : 0, size * size);
  std::vector<Vertex> polygon = first_polygon(c, rng);
  const auto pixel = [scale](double place) { return static_cast<int32_t>(std::floor(place * scale)); };
  for (int line = 0; line < c.lines; ++line) {
    if (line > 0) move_outwards(c, noise, rng, polygon);
    const auto gray = static_cast<uint8_t>(rng.below(256));
    for (int i = 0; i < c.vertices; ++i) {
      const Vertex from = polygon[i], to = polygon[(i + 1) % c.vertices];
      draw_line({pixel(from.x), pixel(from.y)}, {pixel(to.x), pixel(to.y)}, gray, size, pixels);
    }
  }
}

}  // namespace

std::vector<ContourClass> draw_contour_classes(ContourSet set, int64_t first, int64_t count, uint64_t seed) {
  check_range(first, "first", 0, 1'000'000'000);
  check_range(count, "count", 1, 1'000'000);
  std::vector<ContourClass> classes;
  for (int64_t i = 0; i < count; ++i) classes.push_back(draw_class(set, first + i, seed));
  return classes;
}

at::Tensor draw_contours(const std::vector<ContourClass>& classes, const ContourOptions& options, WorkerPool& pool, const std::function<void(int64_t done)>& on_image) {
  check_options(options);
  for (const ContourClass& c : classes) check_class(c);
  const int64_t count = static_cast<int64_t>(classes.size()) * options.instances;
  at::Tensor images = at::empty({count, options.size, options.size}, at::kByte);
  auto* pixels = images.mutable_data_ptr<uint8_t>();
  const auto draw = [&](int64_t i, int) { draw_instance(classes[i / options.instances], options.first_instance + i % options.instances, options.size, pixels + i * options.size * options.size); };
  pool.run(count, draw, on_image);
  return images;
}

}  // namespace seedbed::fractal
