#include "nn/winograd.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <array>

#include "nn/kernels/scratch.h"
#include "nn/tensors.h"
#include "tensor/vector_code.h"
#include "nn/kernels/winograd_kernel.h"
#include "tensor/check.h"
#include "tensor/error.h"

namespace seedbed::nn {

namespace {

constexpr int64_t kFilter = 9;                 // places of a filter
constexpr int64_t kMostTiles = 72;             // of a block: their sums of 64 output channels stay in the second cache
constexpr int64_t kMostInputFloats = 4 << 20;  // of a block's transformed input, read once per 64 output channels
constexpr int64_t kFewestTiles = 24;           // fewer would not repay transforming the filters
constexpr int64_t kTasksPerThread = 4;

constexpr int64_t divide_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit; }

const WinogradKernel& kernel_of(std::string_view name) {
  switch (vector_code(name)) {
#if defined(__x86_64__)
    case VectorCode::avx512bf16:
    case VectorCode::avx512: return kWinogradAvx512;
    case VectorCode::avx2: return kWinogradAvx2;
#endif
    default: return kWinogradPortable;
  }
}

struct Convolution {
  const WinogradKernel& kernel;
  const float *x, *packed, *bias, *residual;  // bias padded to whole blocks; residual may be null
  float* out;
  int64_t in_channels, out_channels, height, width;
  int64_t tiles_down, tiles_across, tiles;  // tiles: of all images

  int64_t in_blocks() const { return divide_up(in_channels, kWinogradBlock); }
  int64_t out_blocks() const { return divide_up(out_channels, kWinogradBlock); }

  // Addresses of the Side x Side pixels from (y, x) on of an image of maps; `zeros` outside.
  template <int64_t Side>
  std::array<const float*, Side * Side> square(const float* maps, int64_t channels, int64_t image, int64_t y, int64_t x, const float* zeros) const {
    std::array<const float*, Side * Side> pixels;
    for (int64_t i = 0; i < Side; ++i)
      for (int64_t j = 0; j < Side; ++j) {
        const int64_t row = y + i, column = x + j;
        const bool inside = row >= 0 && row < height && column >= 0 && column < width;
        pixels[i * Side + j] = inside ? maps + ((image * height + row) * width + column) * channels : zeros;
      }
    return pixels;
  }

  // Where a tile begins.
  struct Place {
    int64_t image, y, x;
  };
  Place place_of(int64_t tile) const {
    const int64_t per_image = tiles_down * tiles_across, within = tile % per_image;
    return {tile / per_image, within / tiles_across * kWinogradTile, within % tiles_across * kWinogradTile};
  }
};

// One thread's memory for blocks of `tiles` tiles.
struct Memory {
  float *inputs, *weights, *sums, *zeros;

  Memory(const Convolution& conv, int64_t tiles) {
    const int64_t matrices = kWinogradPlaces * winograd_stride(tiles), filters = kWinogradPlaces * winograd_stride(kWinogradBlock);
    inputs = scratch(0, (conv.in_blocks() + 1) * matrices + filters + conv.in_channels);
    sums = inputs + conv.in_blocks() * matrices;
    weights = sums + matrices;
    zeros = weights + filters;
    std::fill_n(zeros, conv.in_channels, 0.0F);
  }
};

void transform_inputs(const Convolution& conv, int64_t first, int64_t count, const Memory& memory) {
  for (int64_t t = 0; t < count; ++t) {
    const auto [image, y, x] = conv.place_of(first + t);
    const auto pixels = conv.square<6>(conv.x, conv.in_channels, image, y - 1, x - 1, memory.zeros);
    conv.kernel.input(pixels.data(), conv.in_channels, memory.inputs + t * kWinogradBlock, winograd_stride(count));
  }
}

// One block of output channels of `count` tiles.
void convolve_block(const Convolution& conv, int64_t first, int64_t count, int64_t block, const Memory& memory) {
  const int64_t channels = std::min(kWinogradBlock, conv.out_channels - block * kWinogradBlock);
  const int64_t columns = divide_up(channels, conv.kernel.columns) * conv.kernel.columns;
  const int64_t stride = winograd_stride(count);
  for (int64_t c = 0; c < conv.in_channels; c += kWinogradBlock) {
    const int64_t length = std::min(kWinogradBlock, conv.in_channels - c);
    conv.kernel.weights(conv.packed + (block * conv.in_channels + c) * 9 * kWinogradBlock, length, columns, memory.weights);
    conv.kernel.multiply({memory.inputs + c / kWinogradBlock * kWinogradPlaces * stride, memory.weights, memory.sums, count, length, columns, c == 0});
  }
  for (int64_t t = 0; t < count; ++t) {
    const auto [image, y, x] = conv.place_of(first + t);
    const int64_t at = ((image * conv.height + y) * conv.width + x) * conv.out_channels + block * kWinogradBlock;
    conv.kernel.output({memory.sums + t * kWinogradBlock, stride, conv.bias + block * kWinogradBlock, conv.residual == nullptr ? nullptr : conv.residual + at, conv.out + at,
                        conv.width * conv.out_channels, conv.out_channels, std::min(kWinogradTile, conv.height - y), std::min(kWinogradTile, conv.width - x), channels});
  }
}

// Tasks are blocks of tiles, with parts of the output channels where the tiles alone are too few for the threads. Their borders
// do not change the bytes: no sum goes across tiles, nor across output channels.
void convolve(const Convolution& conv) {
  const int64_t rows = conv.kernel.rows, room = kMostInputFloats / (kWinogradPlaces * conv.in_blocks() * kWinogradBlock);
  const int64_t most = std::max(kFewestTiles, std::min(kMostTiles, room) / rows * rows);
  const int64_t blocks = divide_up(conv.tiles, most), size = divide_up(conv.tiles, blocks);
  const int64_t threads = at::get_num_threads();
  int64_t parts = 1;
  while (parts < conv.out_blocks() && blocks * parts % threads != 0 && blocks * parts < kTasksPerThread * threads) ++parts;
  at::parallel_for(0, blocks * parts, 1, [&](int64_t begin, int64_t end) {
    const Memory memory(conv, size);
    int64_t transformed = -1;
    for (int64_t task = begin; task < end; ++task) {
      const int64_t block = task / parts, part = task % parts, first = block * size, count = std::min(size, conv.tiles - first);
      if (count <= 0) continue;
      if (block != transformed) transform_inputs(conv, first, count, memory);
      transformed = block;
      for (int64_t n = part * conv.out_blocks() / parts; n < (part + 1) * conv.out_blocks() / parts; ++n) convolve_block(conv, first, count, n, memory);
    }
  });
}

// Tiles of a task's piece of the filters' gradient. Their parts are added in order; their number depends on that of the tiles alone.
constexpr int64_t kTilesPerPart = 2048;
constexpr int64_t kMostParts = 4;

// Gradient of the filters [out, in, 3, 3] of conv from that of its outputs [B, H, W, out]. One task for each part of the tiles and block of
// output channels, which transforms the inputs anew: a few percent of what it multiplies.
at::Tensor filter_gradient(const Convolution& conv, const float* grad_out) {
  const int64_t in = conv.in_channels, out = conv.out_channels, in_blocks = conv.in_blocks(), out_blocks = conv.out_blocks();
  const int64_t parts = std::clamp<int64_t>(conv.tiles / kTilesPerPart, 1, kMostParts), most = std::min(kMostTiles, divide_up(conv.tiles, parts));
  constexpr int64_t square = kWinogradBlock * kWinogradBlock;
  const int64_t matrices = kWinogradPlaces * winograd_stride(most), sum_matrices = kWinogradPlaces * winograd_stride(kWinogradBlock);
  const at::Tensor pieces = at::empty({parts, out_blocks, in_blocks, kFilter, square});  // [.., input channel, output channel]
  float* const piece_data = pieces.mutable_data_ptr<float>();
  at::parallel_for(0, parts * out_blocks, 1, [&](int64_t begin, int64_t end) {
    float* const inputs = scratch(0, (in_blocks + 1) * matrices + in_blocks * sum_matrices + std::max(in, kWinogradBlock));
    float* const outputs = inputs + in_blocks * matrices;
    float* const sums = outputs + matrices;
    float* const zeros = sums + in_blocks * sum_matrices;
    std::fill_n(zeros, std::max(in, kWinogradBlock), 0.0F);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t part = task / out_blocks, block = task % out_blocks, n = block * kWinogradBlock, channels = std::min(kWinogradBlock, out - n);
      const int64_t columns = divide_up(channels, conv.kernel.columns) * conv.kernel.columns;
      std::fill_n(sums, in_blocks * sum_matrices, 0.0F);
      if (channels < columns) std::fill_n(outputs, matrices, 0.0F);
      for (int64_t first = part * conv.tiles / parts, last = (part + 1) * conv.tiles / parts; first < last; first += most) {
        const int64_t count = std::min(most, last - first), stride = winograd_stride(count);
        for (int64_t t = 0; t < count; ++t) {
          const auto [image, y, x] = conv.place_of(first + t);
          const auto pixels = conv.square<6>(conv.x, in, image, y - 1, x - 1, zeros);
          conv.kernel.input(pixels.data(), in, inputs + t * kWinogradBlock, stride);
          auto gradients = conv.square<4>(grad_out, out, image, y, x, nullptr);
          for (const float*& pixel : gradients) pixel = pixel == nullptr ? zeros : pixel + n;
          conv.kernel.output_gradient(gradients.data(), channels, outputs + t * kWinogradBlock, stride);
        }
        for (int64_t b = 0; b < in_blocks; ++b)
          conv.kernel.add_filter_sums({inputs + b * kWinogradPlaces * stride, outputs, sums + b * sum_matrices, count, std::min(kWinogradBlock, in - b * kWinogradBlock), columns});
      }
      for (int64_t b = 0; b < in_blocks; ++b)
        conv.kernel.filter_gradient(sums + b * sum_matrices, std::min(kWinogradBlock, in - b * kWinogradBlock), columns, piece_data + (task * in_blocks + b) * kFilter * square);
    }
  });
  const at::Tensor gradient = at::empty({out, in, 3, 3});
  float* const target = gradient.mutable_data_ptr<float>();
  at::parallel_for(0, out, kWinogradBlock, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n)
      for (int64_t c = 0; c < in; ++c)
        for (int64_t k = 0; k < kFilter; ++k) {
          float sum = 0;
          for (int64_t part = 0; part < parts; ++part)
            sum += piece_data[(((part * out_blocks + n / kWinogradBlock) * in_blocks + c / kWinogradBlock) * kFilter + k) * square + c % kWinogradBlock * kWinogradBlock + n % kWinogradBlock];
          target[(n * in + c) * kFilter + k] = sum;
        }
  });
  return gradient;
}

// Of the map that went in, from that of the map that came out, by the filter turned round.
at::Tensor input_gradient(torch::autograd::AutogradContext& ctx, const at::Tensor& grad) {
  auto& saved = ctx.saved_data;
  const at::Tensor packed = saved["packed"].toTensor();
  const at::Tensor turned = saved["turned"].isNone() ? turn_winograd(packed, saved["out_channels"].toInt()) : saved["turned"].toTensor();
  return winograd_conv3x3(grad, turned, packed.size(1), {}, {});
}

class FrozenConvolution : public torch::autograd::Function<FrozenConvolution> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& x, const std::optional<at::Tensor>& residual, const at::Tensor& packed,
                            const std::optional<at::Tensor>& turned, int64_t out_channels, const at::Tensor& bias) {
    ctx->saved_data["packed"] = packed;
    ctx->saved_data["turned"] = turned;
    ctx->saved_data["out_channels"] = out_channels;
    ctx->saved_data["residual"] = residual.has_value();
    return winograd_conv3x3(x, packed, out_channels, bias, residual.value_or(at::Tensor()));
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx, const torch::autograd::variable_list& grads) {
    return {input_gradient(*ctx, grads[0]), ctx->saved_data["residual"].toBool() ? grads[0] : at::Tensor(), {}, {}, {}, {}};
  }
};

class TrainedConvolution : public torch::autograd::Function<TrainedConvolution> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                            const std::optional<at::Tensor>& residual, const at::Tensor& packed, const std::optional<at::Tensor>& turned) {
    const at::Tensor input = x.contiguous(at::MemoryFormat::ChannelsLast);
    ctx->save_for_backward({input});
    ctx->saved_data["packed"] = packed;
    ctx->saved_data["turned"] = turned;
    ctx->saved_data["out_channels"] = weight.size(0);
    ctx->saved_data["x_gradient"] = x.requires_grad();
    ctx->saved_data["bias"] = bias.has_value();
    ctx->saved_data["residual"] = residual.has_value();
    return winograd_conv3x3(input, packed, weight.size(0), bias.value_or(at::Tensor()), residual.value_or(at::Tensor()));
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx, const torch::autograd::variable_list& grads) {
    auto& saved = ctx->saved_data;
    const at::Tensor x = ctx->get_saved_variables()[0], grad = grads[0].contiguous(at::MemoryFormat::ChannelsLast);
    return {saved["x_gradient"].toBool() ? input_gradient(*ctx, grad) : at::Tensor(), winograd_filter_gradient(x, grad), saved["bias"].toBool() ? grad.sum({0, 2, 3}) : at::Tensor(), saved["residual"].toBool() ? grads[0] : at::Tensor(), {}, {}};
  }
};

}  // namespace

// Weights are read once and written once, without a copy between: new memory is the dearest part of a model's first call.
at::Tensor pack_winograd(const at::Tensor& weight) {
  check_shape(weight, "pack_winograd: weight", {-1, -1, 3, 3});
  const at::Tensor from = weight.detach().to(at::kFloat).contiguous();
  const int64_t out = from.size(0), in = from.size(1), blocks = divide_up(out, kWinogradBlock);
  const at::Tensor packed = at::empty({blocks, in, kFilter, kWinogradBlock}, from.options());
  const float* const values = from.const_data_ptr<float>();
  float* const target = packed.mutable_data_ptr<float>();
  at::parallel_for(0, blocks * in, kWinogradBlock, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i / in * kWinogradBlock, lanes = std::min(kWinogradBlock, out - first);
      float* const place = target + i * kFilter * kWinogradBlock;
      if (lanes < kWinogradBlock) std::fill_n(place, kFilter * kWinogradBlock, 0.0F);
      for (int64_t lane = 0; lane < lanes; ++lane) {
        const float* const filter = values + ((first + lane) * in + i % in) * kFilter;
        for (int64_t k = 0; k < kFilter; ++k) place[k * kWinogradBlock + lane] = filter[k];
      }
    }
  });
  return packed;
}

at::Tensor turn_winograd(const at::Tensor& packed, int64_t out_channels) {
  const int64_t out_blocks = packed.size(0), in = packed.size(1), in_blocks = divide_up(in, kWinogradBlock);
  const at::Tensor turned = at::empty({in_blocks, out_channels, kFilter, kWinogradBlock}, packed.options().requires_grad(false));
  const float* const from = packed.const_data_ptr<float>();
  float* const to = turned.mutable_data_ptr<float>();
  // Squares of channels that fit into the first cache.
  at::parallel_for(0, in_blocks * out_blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t c = i / out_blocks * kWinogradBlock, n = i % out_blocks * kWinogradBlock;
      const int64_t columns = std::min(kWinogradBlock, in - c), rows = std::min(kWinogradBlock, out_channels - n);
      for (int64_t k = 0; k < kFilter; ++k)
        for (int64_t row = 0; row < rows; ++row) {
          const float* const source = from + ((n / kWinogradBlock * in + c) * kFilter + k) * kWinogradBlock + row;
          float* const place = to + ((c / kWinogradBlock * out_channels + n + row) * kFilter + kFilter - 1 - k) * kWinogradBlock;
          for (int64_t column = 0; column < columns; ++column) place[column] = source[column * kFilter * kWinogradBlock];
          std::fill(place + columns, place + kWinogradBlock, 0.0F);
        }
    }
  });
  return turned;
}

at::Tensor winograd_filter_gradient(const at::Tensor& x, const at::Tensor& grad_out, std::string_view kernel) {
  check_shape(x, "winograd_filter_gradient: x", {-1, -1, -1, -1});
  const int64_t batch = x.size(0), in = x.size(1), height = x.size(2), width = x.size(3), out = grad_out.size(1);
  check_shape(grad_out, "winograd_filter_gradient: grad_out", {batch, -1, height, width});
  check_dtype(x, "winograd_filter_gradient: x", at::kFloat);
  check_dtype(grad_out, "winograd_filter_gradient: grad_out", at::kFloat);
  const at::Tensor input = x.contiguous(at::MemoryFormat::ChannelsLast), grads = grad_out.contiguous(at::MemoryFormat::ChannelsLast);
  const int64_t down = divide_up(height, kWinogradTile), across = divide_up(width, kWinogradTile);
  return filter_gradient({.kernel = kernel_of(kernel), .x = input.const_data_ptr<float>(), .in_channels = in, .out_channels = out, .height = height, .width = width,
                          .tiles_down = down, .tiles_across = across, .tiles = batch * down * across},
                         grads.const_data_ptr<float>());
}

at::Tensor winograd_conv3x3_trained(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& packed, const at::Tensor& turned, const at::Tensor& bias, const at::Tensor& residual) {
  return TrainedConvolution::apply(x, weight, optional(bias), optional(residual), packed, optional(turned));
}

at::Tensor winograd_conv3x3(const at::Tensor& x, const at::Tensor& packed, int64_t out_channels, const at::Tensor& bias, const at::Tensor& residual, std::string_view kernel) {
  check_shape(x, "winograd_conv3x3: x", {-1, -1, -1, -1});
  check_dtype(x, "winograd_conv3x3: x", at::kFloat);
  check_dtype(packed, "winograd_conv3x3: packed", at::kFloat);
  const int64_t batch = x.size(0), in = x.size(1), height = x.size(2), width = x.size(3);
  const int64_t blocks = divide_up(out_channels, kWinogradBlock);
  expect(in > 0 && out_channels > 0, "winograd_conv3x3: expected at least one channel, received {} and {}", in, out_channels);
  check_shape(packed, "winograd_conv3x3: packed", {blocks, in, 9, kWinogradBlock});
  if (bias.defined()) check_shape(bias, "winograd_conv3x3: bias", {out_channels});
  if (residual.defined()) {
    check_shape(residual, "winograd_conv3x3: residual", {batch, out_channels, height, width});
    check_dtype(residual, "winograd_conv3x3: residual", at::kFloat);
  }
  const at::Tensor input = x.contiguous(at::MemoryFormat::ChannelsLast), weights = packed.contiguous();
  const at::Tensor added = residual.defined() ? residual.contiguous(at::MemoryFormat::ChannelsLast) : residual;
  at::Tensor padded_bias = at::zeros({blocks * kWinogradBlock}, weights.options());
  if (bias.defined()) padded_bias.narrow(0, 0, out_channels).copy_(bias.detach());
  const at::Tensor out = at::empty({batch, out_channels, height, width}, x.options().requires_grad(false), at::MemoryFormat::ChannelsLast);
  if (out.numel() == 0) return out;
  const int64_t down = divide_up(height, kWinogradTile), across = divide_up(width, kWinogradTile);
  convolve({kernel_of(kernel), input.const_data_ptr<float>(), weights.const_data_ptr<float>(), padded_bias.const_data_ptr<float>(),
            added.defined() ? added.const_data_ptr<float>() : nullptr, out.data_ptr<float>(), in, out_channels, height, width, down, across, batch * down * across});
  return out;
}

at::Tensor winograd_conv3x3_frozen(const at::Tensor& x, const at::Tensor& packed, const at::Tensor& turned, int64_t out_channels, const at::Tensor& bias, const at::Tensor& residual) {
  return FrozenConvolution::apply(x, optional(residual), packed, optional(turned), out_channels, bias);
}

bool trained_winograd_pays(int64_t images, int64_t in, int64_t out, int64_t height, int64_t width) {
  constexpr int64_t fewest_channels = 32;
  return in >= fewest_channels && out >= fewest_channels && images * divide_up(height, kWinogradTile) * divide_up(width, kWinogradTile) >= kFewestTiles;
}

bool winograd_pays(int64_t in, int64_t out, int64_t height, int64_t width) {
  constexpr int64_t fewest_channels = 32, fewest_pixels = 64;
  return in >= fewest_channels && out >= fewest_channels && height * width >= fewest_pixels;
}

}  // namespace seedbed::nn
