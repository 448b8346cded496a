#pragma once

#include "fractal/render.h"

namespace seedbed::fractal {

enum class Device { automatic, cpu, cuda };

// `Renderer::render_all` on a device, into `images`. `automatic` takes a GPU where one can render with these options, else the CPU.
// For `cuda` throws ERR_NO_CUDA when there is none, ERR_INVALID_ARGUMENT when it cannot render with these options.
void render_on(Device device, const Renderer& renderer, const std::vector<Ifs>& systems, const std::vector<uint64_t>& texture_seeds, WorkerPool& pool, at::Tensor& images,
               const std::function<void(int64_t done)>& on_image = {});

}  // namespace seedbed::fractal
