#include "nn/drop_path.h"

#include <ATen/ATen.h>

namespace seedbed::nn {

at::Tensor drop_path(const at::Tensor& branch, double probability, const Forward& forward) {
  if (!forward.training || probability == 0) return branch;
  std::vector<int64_t> shape(branch.dim(), 1);  // [B, 1, ...]
  shape[0] = branch.size(0);
  const at::Tensor kept = at::empty(shape, branch.options()).bernoulli_(1 - probability, *forward.generator);
  return branch * kept.div_(1 - probability);
}

double drop_path_of_block(double last, int64_t i, int64_t blocks) { return blocks > 1 ? last * (static_cast<double>(i) / static_cast<double>(blocks - 1)) : 0; }

}  // namespace seedbed::nn
