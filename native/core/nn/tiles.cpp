#include "nn/tiles.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "tensor/error.h"

namespace seedbed::nn {

namespace {

// Fades from `before` to `after` over the first `extent` rows or columns of `after`, in place.
void blend(const at::Tensor& before, at::Tensor after, int64_t extent, int64_t dim) {
  extent = std::min({extent, before.size(dim), after.size(dim)});
  std::vector<int64_t> shape(4, 1);
  shape[static_cast<size_t>(dim)] = extent;
  const at::Tensor share = (at::arange(extent, after.options()) / static_cast<double>(extent)).view(shape);
  at::Tensor begin = after.narrow(dim, 0, extent);
  begin.copy_(before.narrow(dim, before.size(dim) - extent, extent) * (1 - share) + begin * share);
}

}  // namespace

at::Tensor in_tiles(const at::Tensor& x, const Tiles& tiles, const Convert& convert) {
  expect(tiles.overlap >= 0 && tiles.overlap < tiles.side, "Expected tiles that overlap by less than their side {}, received {}", tiles.side, tiles.overlap);
  const int64_t side = tiles.side * tiles.before, stride = (tiles.side - tiles.overlap) * tiles.before;
  const int64_t extent = tiles.overlap * tiles.after, kept = (tiles.side - tiles.overlap) * tiles.after;
  if (x.size(2) <= side && x.size(3) <= side) return convert(x);
  std::vector<at::Tensor> above, rows;
  for (int64_t top = 0; top < x.size(2); top += stride) {
    std::vector<at::Tensor> row, strips;
    for (int64_t left = 0; left < x.size(3); left += stride) {
      const at::Tensor converted = convert(x.slice(2, top, top + side).slice(3, left, left + side));
      if (!above.empty()) blend(above[row.size()], converted, extent, 2);
      if (!row.empty()) blend(row.back(), converted, extent, 3);
      row.push_back(converted);
      strips.push_back(converted.slice(2, 0, kept).slice(3, 0, kept));
    }
    rows.push_back(at::cat(strips, 3));
    above = std::move(row);
  }
  return at::cat(rows, 2);
}

}  // namespace seedbed::nn
