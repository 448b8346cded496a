// Our side of bench/diffusion.mjs, in a process of its own like the peers, so that its memory is its own.
//
//   node seedbed.mjs FOLDER unet|vae|text|step float32|bfloat16 BATCH CALLS THREADS
//
// As peers/diffusion.py: a line about itself when ready, then a line of seconds of one call for each line on standard input.

import { createInterface } from 'node:readline';
import { loadDiffusion } from '../../dist/lib/index.js';

const [folder, part, dtype, ...numbers] = process.argv.slice(2);
const [batch, calls, threads] = numbers.map(Number);
const TOKENS = 77;

const say = (fields) => console.log(JSON.stringify({ ...fields, peakMb: Math.round(process.resourceUsage().maxRSS / 1024) }));
const seconds = (begin) => (performance.now() - begin) / 1000;

function noise(shape) {
  let state = 1;
  const next = () => ((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 31 - 1) * 1.7;
  return { data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, next), shape, dtype: 'float32' };
}

const begin = performance.now();
const sd = await loadDiffusion(folder, { dtype, threads });
const loadSeconds = seconds(begin);
const { imageSize, factor, crossAttentionDim, latentChannels } = sd.info;
const side = imageSize / factor;

if (part === 'step') {
  for await (const event of sd.generate({ prompt: 'a cat', steps: 2, sampler: 'ddim', decode: false })) {
    if (event.type !== 'step') continue;
    say({ engine: `seedbed ${dtype}`, loadSeconds, seconds: seconds(begin) });
    process.exit();
  }
}

const latents = noise([batch, latentChannels, side, side]);
const context = noise([batch, TOKENS, crossAttentionDim]);
const run = {
  unet: () => sd.predictNoise({ latents, timestep: 500, context }),
  vae: () => sd.components.vae.decode(latents),
  text: () => sd.encodePrompt(Array.from({ length: batch }, (_, i) => `a photo of ${i} cats`)),
}[part];
await run();
say({ engine: `seedbed ${dtype}`, loadSeconds });
for await (const _ of createInterface(process.stdin)) {
  const start = performance.now();
  for (let i = 0; i < calls; i++) await run();
  say({ seconds: seconds(start) / calls });
}
process.exit();
