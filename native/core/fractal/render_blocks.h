#pragma once

#include "fractal/block_device.h"
#include "fractal/render.h"

namespace seedbed::fractal {

// Whether blocks can draw with these options: not in double precision, nor patches in the order of the points.
bool blocks_can_draw(const RenderOptions& options);

// Pictures [L, size, size], uint8, as `Renderer::render_all` draws them in its fast mode: coins are the same, and a few
// points in a thousand may fall into the pixel beside, because chunks begin elsewhere. Orbits beyond single precision are
// drawn by the CPU. `on_image(done)` is called after each batch.
at::Tensor render_blocks(BlockDevice& device, const Renderer& renderer, const std::vector<Ifs>& systems, const std::vector<uint64_t>& texture_seeds, WorkerPool& pool,
                         const std::function<void(int64_t done)>& on_image = {});

}  // namespace seedbed::fractal
