#include "nn/squeezenet.h"

#include <ATen/ATen.h>

namespace seedbed::nn {

namespace {

struct FireSizes {
  int place;  // in `features`
  int64_t in, squeeze, expand;
  bool pooled;  // before it
};

constexpr FireSizes kFires[] = {
    {3, 96, 16, 64, true},    {4, 128, 16, 64, false},  {5, 128, 32, 128, false},  {7, 256, 32, 128, true},
    {8, 256, 48, 192, false}, {9, 384, 48, 192, false}, {10, 384, 64, 256, false}, {12, 512, 64, 256, true},
};

constexpr ConvOptions kPoint{.kernel = 1, .padding = 0};

at::Tensor half(const at::Tensor& x) { return at::max_pool2d(x, {3, 3}, {2, 2}, {0, 0}, {1, 1}, /*ceil_mode=*/true); }

}  // namespace

Fire::Fire(int64_t in, int64_t squeeze, int64_t expand) : squeeze_(in, squeeze, kPoint), expand1x1_(squeeze, expand, kPoint), expand3x3_(squeeze, expand) {
  add_child("squeeze", squeeze_);
  add_child("expand1x1", expand1x1_);
  add_child("expand3x3", expand3x3_);
}

at::Tensor Fire::operator()(const at::Tensor& x) const {
  const at::Tensor narrow = squeeze_(x).relu_();  // [B, squeeze, h, w]
  return at::cat({expand1x1_(narrow), expand3x3_(narrow)}, 1).relu_();
}

SqueezeNet::Features::Features() : first(3, 96, {.kernel = 7, .stride = 2, .padding = 0}) {
  add_child("0", first);
  for (const FireSizes& size : kFires) {
    fires.push_back(std::make_unique<Fire>(size.in, size.squeeze, size.expand));
    add_child(std::to_string(size.place), *fires.back());
  }
}

at::Tensor SqueezeNet::Features::operator()(const at::Tensor& pixels) const {
  at::Tensor x = first(pixels).relu_();  // [B, 96, 111, 111]
  for (size_t i = 0; i < fires.size(); ++i) x = (*fires[i])(kFires[i].pooled ? half(x) : x);
  return x;  // [B, 512, 13, 13]
}

SqueezeNet::Classifier::Classifier() : last(kFeatures, kClasses, kPoint) { add_child("1", last); }

SqueezeNet::SqueezeNet() {
  add_child("features", features_);
  add_child("classifier", classifier_);
}

SqueezeNetOutput SqueezeNet::operator()(const at::Tensor& pixels) const {
  const at::Tensor map = features_(pixels);
  return {.features = map.mean({2, 3}), .logits = classifier_.last(map).relu_().mean({2, 3})};
}

}  // namespace seedbed::nn
