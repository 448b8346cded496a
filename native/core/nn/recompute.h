#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace seedbed::nn {

// Gradient checkpointing (Chen et al. 2016, arXiv 1604.06174): runs `body` without keeping what its gradient needs, and runs it
// again for the backward pass. `inputs` are all tensors that `body` reads and that may need a gradient; leaves that it
// captures (adapters' factors) get theirs in `.grad`, so the whole must be differentiated by `backward`, not by `grad`.
// `body` must give the same at both runs, and whatever it refers to must live until then.
at::Tensor recompute(std::function<at::Tensor(const std::vector<at::Tensor>&)> body, const std::vector<at::Tensor>& inputs);

}  // namespace seedbed::nn
