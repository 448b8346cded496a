#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "parallel/worker_pool.h"
#include "tensor/safetensors.h"

namespace seedbed::train {

enum class OptimizerKind { adamw, sgd };

struct OptimizerOptions {
  OptimizerKind kind = OptimizerKind::adamw;
  double weight_decay = 0.05;  // only on parameters with more than one dimension; AdamW: decoupled, SGD: in the gradient
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double momentum = 0.9;       // SGD
  bool nesterov = true;        // SGD: the gradient is taken ahead, after the momentum's move
  std::vector<std::pair<std::string, double>> lr_factors{};  // of parameters by how their names begin; 1 for all others
};

// AdamW (Loshchilov & Hutter 2019) or SGD with (Nesterov) momentum over named parameters, equal to torch.optim's.
class Optimizer {
 public:
  Optimizer(NamedTensors parameters, const OptimizerOptions& options);

  // One update in place. `gradients` in the order of the parameters; parameters are spread over the pool.
  void step(const std::vector<at::Tensor>& gradients, double lr, WorkerPool& pool);

  // Moments by name ("exp_avg.<parameter>" ...), to be written to and read from a checkpoint.
  NamedTensors state() const;
  void load_state(const SafetensorsFile& file, const std::string& prefix, int64_t steps_done);

 private:
  void update(size_t i, const at::Tensor& given, double lr);

  NamedTensors parameters_;
  std::vector<double> lr_factors_;  // of the parameters
  OptimizerOptions options_;
  std::vector<at::Tensor> first_;   // exp_avg, or the momentum buffer
  std::vector<at::Tensor> second_;  // exp_avg_sq; AdamW only
  int64_t steps_ = 0;
};

}  // namespace seedbed::train
