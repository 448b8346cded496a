import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { native } from '#lib/native.js';
import { findAddon } from '#lib/setup/find.js';
import { loadDiffusion, type Diffusion, type Dtype, type LoadDiffusionOptions } from 'seedbed';

/** The device of test/native/fake_device.cpp: the CPU's numbers, but its tensors do not mix with those of the CPU. */
export const FAKE_DEVICE = 'hpu';

/**
 * `loadDiffusion` where its options do not reach. What has no kernel of ours, another element type or device, goes the way that a GPU
 * goes: plain tensor operations, weights converted and moved at load. One call at a time.
 */
export async function loadPlaced(source: string, placement: { device?: typeof FAKE_DEVICE; dtype?: Dtype }, options: LoadDiffusionOptions = {}): Promise<Diffusion> {
  const binding = native();
  if (placement.device !== undefined) createRequire(import.meta.url)(join(dirname(findAddon().main), 'seedbed_fake_device.node'));
  const original = binding.loadDiffusion.bind(binding);
  binding.loadDiffusion = (call, listener) => original({ ...call, ...placement }, listener);
  try {
    return await loadDiffusion(source, { device: 'cpu', dtype: 'float32', threads: 1, ...options });
  } finally {
    binding.loadDiffusion = original;
  }
}
