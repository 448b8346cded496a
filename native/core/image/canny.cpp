#include "image/canny.h"

#include <algorithm>
#include <cmath>

#include "tensor/error.h"

namespace seedbed::image {

namespace {

constexpr double kRadius = 4;  // of the Gaussian, standard deviations
constexpr double kMostSigma = 16;

struct Field {
  Field(int64_t width, int64_t height) : width(width), height(height), values(width * height) {}

  double& at(int64_t x, int64_t y) { return values[y * width + x]; }
  double at(int64_t x, int64_t y) const { return values[y * width + x]; }
  double nearest(int64_t x, int64_t y) const { return at(std::clamp<int64_t>(x, 0, width - 1), std::clamp<int64_t>(y, 0, height - 1)); }

  int64_t width, height;
  std::vector<double> values;
};

Field brightness(const Image& image) {
  Field field(image.width, image.height);
  const Image gray = to_gray(image);
  for (size_t i = 0; i < field.values.size(); ++i) field.values[i] = gray.pixels[i] / 255.0;
  return field;
}

// Along one axis: (dx, dy) is a step.
Field smooth(const Field& field, const std::vector<double>& weights, int64_t dx, int64_t dy) {
  Field out(field.width, field.height);
  for (int64_t y = 0; y < field.height; ++y)
    for (int64_t x = 0; x < field.width; ++x) {
      double sum = field.at(x, y) * weights[0];
      for (int64_t k = static_cast<int64_t>(weights.size()) - 1; k > 0; --k) sum += (field.nearest(x - k * dx, y - k * dy) + field.nearest(x + k * dx, y + k * dy)) * weights[k];
      out.at(x, y) = sum;
    }
  return out;
}

// The middle and one side of a Gaussian whose sum is 1.
std::vector<double> gaussian(double sigma) {
  std::vector<double> weights(static_cast<size_t>(kRadius * sigma + 0.5) + 1);
  double sum = 0;
  for (size_t k = 0; k < weights.size(); ++k) {
    weights[k] = std::exp(-0.5 / (sigma * sigma) * static_cast<double>(k * k));
    sum += k == 0 ? weights[k] : 2 * weights[k];
  }
  for (double& weight : weights) weight /= sum;
  return weights;
}

// Sobel's derivative along (dx, dy), smoothed along the other axis.
double sobel(const Field& field, int64_t x, int64_t y, int64_t dx, int64_t dy) {
  const auto slope = [&](int64_t side) { return field.nearest(x + dx + side * dy, y + dy + side * dx) - field.nearest(x - dx + side * dy, y - dy + side * dx); };
  return 2 * slope(0) + (slope(-1) + slope(1));
}

// Whether no value along the gradient is larger: one pixel on and one back, between a straight and a diagonal neighbour.
bool is_ridge(const Field& magnitude, int64_t x, int64_t y, double gx, double gy) {
  if (gx == 0 && gy == 0) return false;
  const int64_t sx = gx < 0 ? -1 : 1, sy = gy < 0 ? -1 : 1;
  const bool steep = std::abs(gy) > std::abs(gx);
  const double share = steep ? std::abs(gx / gy) : std::abs(gy / gx);
  const int64_t straight_x = steep ? 0 : sx, straight_y = steep ? sy : 0;
  const auto beside = [&](int64_t side) { return magnitude.at(x + side * sx, y + side * sy) * share + magnitude.at(x + side * straight_x, y + side * straight_y) * (1 - share); };
  const double own = magnitude.at(x, y);
  return beside(1) <= own && beside(-1) <= own;
}

}  // namespace

Image canny(const Image& image, const CannyOptions& options) {
  expect(options.sigma > 0 && options.sigma <= kMostSigma, "Expected a number above 0, at most {}, for sigma, received {}", kMostSigma, options.sigma);
  expect(options.low >= 0 && options.high >= options.low, "Expected thresholds low and high, the latter not smaller, received {} and {}", options.low, options.high);
  const std::vector<double> weights = gaussian(options.sigma);
  const Field smoothed = smooth(smooth(brightness(image), weights, 0, 1), weights, 1, 0);
  const int64_t width = image.width, height = image.height;
  Field gx(width, height), gy(width, height), magnitude(width, height);
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x) {
      gx.at(x, y) = sobel(smoothed, x, y, 1, 0);
      gy.at(x, y) = sobel(smoothed, x, y, 0, 1);
      magnitude.at(x, y) = std::sqrt(gx.at(x, y) * gx.at(x, y) + gy.at(x, y) * gy.at(x, y));
    }
  constexpr uint8_t kPossible = 1, kEdge = 255;
  Image edges(width, height, 1);
  std::vector<std::pair<int64_t, int64_t>> open;
  for (int64_t y = 1; y < height - 1; ++y)
    for (int64_t x = 1; x < width - 1; ++x) {
      const double own = magnitude.at(x, y);
      if (own < options.low || own == 0 || !is_ridge(magnitude, x, y, gx.at(x, y), gy.at(x, y))) continue;
      edges.row(y)[x] = own >= options.high ? kEdge : kPossible;
      if (own >= options.high) open.emplace_back(x, y);
    }
  while (!open.empty()) {
    const auto [x, y] = open.back();
    open.pop_back();
    for (int64_t ny = y - 1; ny <= y + 1; ++ny)
      for (int64_t nx = x - 1; nx <= x + 1; ++nx) {
        if (nx < 0 || ny < 0 || nx >= width || ny >= height || edges.row(ny)[nx] != kPossible) continue;
        edges.row(ny)[nx] = kEdge;
        open.emplace_back(nx, ny);
      }
  }
  for (uint8_t& pixel : edges.pixels)
    if (pixel == kPossible) pixel = 0;
  return edges;
}

}  // namespace seedbed::image
