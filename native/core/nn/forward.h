#pragma once

#include <ATen/core/Generator.h>

namespace seedbed::nn {

class BatchStatistics;

// What a forward pass of a classifier needs to know beside its input.
struct Forward {
  bool training = false;                  // residual branches are dropped, batch norms measure their input
  at::Generator* generator = nullptr;     // draws of the former; needed when training
  BatchStatistics* statistics = nullptr;  // takes what the latter measure; needed when training
  int64_t frozen_stages = 0;              // of the network, from the input on, that run as in evaluation

  // What a stage, counted from 0, needs to know.
  Forward of_stage(int64_t stage) const { return stage < frozen_stages ? Forward{} : *this; }
};

}  // namespace seedbed::nn
