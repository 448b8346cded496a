#include "metrics/judge.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <atomic>

#include "image/resize.h"
#include "tensor/check.h"

namespace seedbed::metrics {

namespace {

constexpr int64_t kBatch = 8;
constexpr int64_t kSide = nn::SqueezeNet::kSide;
// Subtracted from blue, green and red, in which order the network reads them; its pixels are not divided.
constexpr float kMeans[] = {104, 117, 123};

// One picture [H, W, 3] resized, as floats [3, side, side].
void pixels_to(const at::Tensor& picture, float* out) {
  image::Image image(picture.size(1), picture.size(0), 3);
  const uint8_t* bytes = picture.const_data_ptr<uint8_t>();
  std::copy(bytes, bytes + picture.numel(), image.pixels.begin());
  const image::Image resized = image::resize(image, kSide, kSide, image::Filter::bicubic);
  for (int channel = 0; channel < 3; ++channel)
    for (int64_t i = 0; i < kSide * kSide; ++i) *out++ = static_cast<float>(resized.pixels[i * 3 + 2 - channel]) - kMeans[channel];
}

}  // namespace

nn::SqueezeNetOutput judge(const nn::SqueezeNet& network, const at::Tensor& pictures, WorkerPool& pool, const std::function<void(int64_t)>& on_batch) {
  check_dtype(pictures, "pictures", at::kByte);
  check_shape(pictures, "pictures", {-1, -1, -1, 3});
  const at::Tensor rows = pictures.contiguous();
  const int64_t count = rows.size(0);
  nn::SqueezeNetOutput out{.features = at::empty({count, nn::SqueezeNet::kFeatures}), .logits = at::empty({count, nn::SqueezeNet::kClasses})};
  std::atomic<int64_t> done = 0;
  pool.run((count + kBatch - 1) / kBatch, [&](int64_t batch, int) {
    const c10::NoGradGuard no_grad;
    const int64_t begin = batch * kBatch, end = std::min(begin + kBatch, count);
    const at::Tensor pixels = at::empty({end - begin, 3, kSide, kSide});
    for (int64_t i = begin; i < end; ++i) pixels_to(rows[i], pixels[i - begin].mutable_data_ptr<float>());
    const nn::SqueezeNetOutput seen = network(pixels);
    out.features.slice(0, begin, end).copy_(seen.features);
    out.logits.slice(0, begin, end).copy_(seen.logits);
    const int64_t so_far = done += end - begin;
    if (on_batch) on_batch(so_far);
  });
  return out;
}

}  // namespace seedbed::metrics
