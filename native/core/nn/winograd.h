#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>

// Convolution with 3 x 3 filters, stride 1 and padding 1, with a quarter of the multiplications: Winograd's F(4 x 4, 3 x 3).

namespace seedbed::nn {

// weight [out, in, 3, 3], any float type -> [ceil(out / 64), in, 9, 64], float32, as large as the weight: filters are
// transformed where they are used, which costs less than reading four times as much memory.
at::Tensor pack_winograd(const at::Tensor& weight);

// x [B, in, H, W], float32, best channels-last -> [B, out, H, W], channels-last. bias [out], or undefined; residual
// [B, out, H, W], or undefined, is added. Has no gradient. Of noise the errors are about 1e-6 of the largest output, no more than
// the direct method's; an infinite input gives NaN. The result depends neither on the number of threads nor on the rest of the batch.
// `kernel` asks for a vector code by name (attention_kernels()). Throws ERR_SHAPE, ERR_DTYPE, ERR_INVALID_ARGUMENT.
at::Tensor winograd_conv3x3(const at::Tensor& x, const at::Tensor& packed, int64_t out_channels, const at::Tensor& bias, const at::Tensor& residual,
                            std::string_view kernel = {});

// Whether winograd_conv3x3 is faster than the direct method, also with weights packed for it, for one image [in, H, W] or more.
bool winograd_pays(int64_t in, int64_t out, int64_t height, int64_t width);

// The packed weight of a convolution's gradient, from that of the convolution: in and out changed over, the filters turned by half.
at::Tensor turn_winograd(const at::Tensor& packed, int64_t out_channels);

// A convolution with a gradient for x and the residual, of a layer whose weight and bias are frozen. The gradient is such a
// convolution too; `turned` is its packed weight, made for each backward pass when undefined.
at::Tensor winograd_conv3x3_frozen(const at::Tensor& x, const at::Tensor& packed, const at::Tensor& turned, int64_t out_channels, const at::Tensor& bias, const at::Tensor& residual);

// The gradient of the filters [out, in, 3, 3] for inputs x [B, in, H, W] and the gradient of the outputs [B, out, H, W], by the same
// transforms: a quarter of the multiplications. The result does not depend on the number of threads.
at::Tensor winograd_filter_gradient(const at::Tensor& x, const at::Tensor& grad_out, std::string_view kernel = {});

// A convolution with gradients for all. `packed` is weight's; `turned`, for the gradient of x, is made for each backward pass when undefined.
at::Tensor winograd_conv3x3_trained(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& packed, const at::Tensor& turned, const at::Tensor& bias, const at::Tensor& residual);

// Whether that is faster than the direct method for a batch of `images`: unlike an answer for one of them, that of the gradient is of all together.
bool trained_winograd_pays(int64_t images, int64_t in, int64_t out, int64_t height, int64_t width);

}  // namespace seedbed::nn
