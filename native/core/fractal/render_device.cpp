#include "fractal/render_device.h"

#include "fractal/render_blocks.h"
#include "tensor/error.h"

namespace seedbed::fractal {

namespace {

bool takes_cuda(Device device, const RenderOptions& options) {
  switch (device) {
    case Device::cpu:
      return false;
    case Device::automatic:
      return blocks_can_draw(options) && missing_cuda().empty();
    case Device::cuda:
      expect(options.precision == Precision::fast, "Expected precision 'fast' on device 'cuda', received 'exact'");
      expect(!options.colour, "Expected pictures without colour on device 'cuda'");
      expect(blocks_can_draw(options), "Expected texture 'iid' for patches on device 'cuda', received 'paste'");
      return true;
  }
  fail(ErrorCode::internal, "Unknown device");
}

}  // namespace

void render_on(Device device, const Renderer& renderer, const std::vector<Ifs>& systems, const std::vector<uint64_t>& texture_seeds, WorkerPool& pool, at::Tensor& images,
               const std::function<void(int64_t done)>& on_image) {
  if (!takes_cuda(device, renderer.options())) return renderer.render_all(systems, texture_seeds, pool, images, on_image);
  images.copy_(render_blocks(*open_cuda(), renderer, systems, texture_seeds, pool, on_image));
}

}  // namespace seedbed::fractal
