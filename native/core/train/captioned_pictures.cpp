#include "train/captioned_pictures.h"

#include <ATen/ATen.h>

#include "tensor/check.h"
#include "tensor/error.h"
#include "train/pictures.h"

namespace seedbed::train {

int64_t CaptionedPictures::first_caption(int64_t place) const { return captions.const_data_ptr<int64_t>()[starts.const_data_ptr<int64_t>()[place]]; }

int64_t CaptionedPictures::draw_caption(int64_t place, Rng& rng) const {
  const int64_t* const first = starts.const_data_ptr<int64_t>() + place;
  return captions.const_data_ptr<int64_t>()[first[0] + static_cast<int64_t>(rng.below(static_cast<uint64_t>(first[1] - first[0])))];
}

std::vector<int64_t> CaptionedPictures::pass() const {
  std::vector<int64_t> places;
  for (int64_t i = 0; i < size(); ++i) places.insert(places.end(), repeats.defined() ? static_cast<size_t>(repeats.const_data_ptr<int64_t>()[i]) : 1, i);
  return places;
}

void check_captioned_pictures(const CaptionedPictures& d, const char* name, int64_t factor, const nn::ClipTextConfig& text) {
  check_pictures(d.pictures, name, factor);
  const int64_t N = d.size();
  for (const auto& [tensor, part] : {std::pair(d.ids, "ids"), std::pair(d.captions, "captions"), std::pair(d.starts, "starts")}) check_dtype(tensor, part, at::kLong);
  check_shape(d.ids, "ids", {-1, -1});
  check_range(d.ids.size(1), "tokens", 1, text.max_positions);
  check_shape(d.starts, "starts", {N + 1});
  check_shape(d.captions, "captions", {d.starts[N].item<int64_t>()});
  expect((d.starts.diff() > 0).all().item<bool>() && d.starts[0].item<int64_t>() == 0, "Expected at least one caption for each of the {}", name);
  expect(d.captions.min().item<int64_t>() >= 0 && d.captions.max().item<int64_t>() < d.ids.size(0), "Expected captions that are rows of ids");
  const int64_t low = d.ids.min().item<int64_t>(), high = d.ids.max().item<int64_t>();
  expect(low >= 0 && high < text.vocab_size, "Expected token ids from 0 to {}, received {} to {}", text.vocab_size - 1, low, high);
  for (const auto& [tensor, part] : {std::pair(d.groups, "groups"), std::pair(d.repeats, "repeats")}) {
    if (!tensor.defined()) continue;
    check_dtype(tensor, part, at::kLong);
    check_shape(tensor, part, {N});
  }
  if (d.repeats.defined()) expect(d.repeats.min().item<int64_t>() >= 0 && d.repeats.sum().item<int64_t>() > 0, "Expected repeats of 0 or more, some above it");
}

}  // namespace seedbed::train
