#pragma once

#include <napi.h>

// The vector code of the nets, and the GPU's blocks, by themselves, for tests and benchmarks. They run on the calling thread.

namespace seedbed::binding {

Napi::Value vector_codes(const Napi::CallbackInfo& info);  // () -> names of the vector codes of this processor, best first
// ({ q, k, v, scale, headsFirst?, gradient?, kind?, kernel?, threads? }) -> { out, forwardMs, gradQ?, gradK?, gradV?, backwardMs? }
Napi::Value attention(const Napi::CallbackInfo& info);
Napi::Value group_norm(const Napi::CallbackInfo& info);  // ({ x, groups, weight?, bias?, eps, silu?, channelsLast?, kind?, kernel?, threads? }) -> tensor
Napi::Value trained_linear(const Napi::CallbackInfo& info);  // ({ x, weight, bias?, residual?, gradient?, precision?, threads? }) -> tensor
Napi::Value geglu(const Napi::CallbackInfo& info);       // ({ x, kind?, kernel?, threads? }) -> tensor
// ({ x, added?, kernel?, threads? }) -> tensor: float32 as bfloat16, or that as float32, with `added` added
Napi::Value change_precision(const Napi::CallbackInfo& info);
Napi::Value low_rank(const Napi::CallbackInfo& info);    // ({ x, outputs, terms: [{ down, up, scale, output, first? }], kind?, kernel?, threads? }) -> outputs with what was added
Napi::Value trained_low_rank(const Napi::CallbackInfo& info);  // ({ x, down, up, y, gradient, scale?, kernel?, threads? }) -> { out, gradX, gradDown, gradUp }: y with what was added, and the gradients for that of the output
// ({ systems, RenderOptions }) -> tensor: the pictures that the GPU's code draws, by a loop; texture seed i for system i
Napi::Value emulate_blocks(const Napi::CallbackInfo& info);
Napi::Value frozen_convolution(const Napi::CallbackInfo& info);  // ({ x, weight, bias?, residual?, gradient?, kind?, threads? }) -> out, or { out, gradX, gradResidual }: sides kept, while gradients are recorded
Napi::Value winograd_convolution(const Napi::CallbackInfo& info);  // ({ x, weight, bias?, residual?, gradient?, kernel?, threads? }) -> tensor, contiguous
Napi::Value winograd_filter_gradient(const Napi::CallbackInfo& info);  // ({ x, gradient, kernel?, threads? }) -> tensor

}  // namespace seedbed::binding
