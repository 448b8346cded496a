// Our side of bench/lora.mjs, in a process of its own.
//
//   node lora.mjs FOLDER train|infer BATCH THREADS float32|bfloat16 [--recompute]
//
// As peers/lora.py; a training run takes 8 steps of the same draws, and each line on standard input waits for one more of them.

import { createInterface } from 'node:readline';
import { partsOf } from '../../dist/lib/diffusion/parts.js';
import { loadDiffusion } from '../../dist/lib/index.js';
import { native } from '../../dist/lib/native.js';

const [folder, mode, ...rest] = process.argv.slice(2);
const [batch, threads] = rest.slice(0, 2).map(Number);
const dtype = rest[2];
const recompute = rest.includes('--recompute');
const STEPS = 8;
const TARGETS = { unetTargets: ['to_q', 'to_k', 'to_v', 'to_out.0'], textEncoderTargets: ['q_proj', 'k_proj', 'v_proj', 'out_proj'] };

const peakMb = () => Math.round(process.resourceUsage().maxRSS / 1024);
const say = (fields) => console.log(JSON.stringify({ ...fields, peakMb: peakMb() }));

const sd = await loadDiffusion(folder, { dtype, device: 'cpu', threads });
const { handle } = partsOf(sd);
const { imageSize, factor, crossAttentionDim } = sd.info;
const side = imageSize / factor;
const size = [STEPS, batch, 4, side, side];
const wave = (salt) => ({ data: Float32Array.from({ length: size.reduce((a, b) => a * b, 1) }, (_, i) => Math.fround(Math.sin(i * 12.9898 + salt)) * Math.fround(1.4)), shape: size, dtype: 'float32' });

if (mode === 'train') {
  const fixed = {
    latents: wave(1),
    noise: wave(2),
    timesteps: { data: BigInt64Array.from({ length: STEPS * batch }, (_, i) => BigInt((i * 137 + 41) % 1000)), shape: [STEPS, batch], dtype: 'int64' },
  };
  const waiting = [];
  const done = [];
  const image = { data: new Uint8Array(3 * 64), width: 8, height: 8, channels: 3 };
  const options = {
    ...TARGETS, fixed, recompute, images: [image], ids: { data: new BigInt64Array(77).fill(320n), shape: [1, 77], dtype: 'int64' }, rank: 16, alpha: 16, steps: STEPS, batchSize: batch, size: imageSize,
    lr: 1e-4, warmupLr: 0, minLr: 0, constantLr: true, optimizer: { weightDecay: 0.01 }, schedule: { betaStart: 0.00085, betaEnd: 0.012, betaSchedule: 'scaled_linear' }, threads,
  };
  let last;
  native().trainLora(handle, options, (kind, value) => {
    if (kind === 'error') throw new Error(value.message);
    if (kind !== 'event' || value.type !== 'step') return;
    const now = performance.now();
    done.push({ seconds: (now - last) / 1000, loss: value.loss });
    last = now;
    waiting.shift()?.();
  });
  last = performance.now();
  say({ engine: `seedbed ${dtype}` });
  for await (const _ of createInterface(process.stdin)) {
    if (done.length === 0) await new Promise((resolve) => waiting.push(resolve));
    say(done.shift());
  }
  process.exit();
}

const layers = native().loraLayers(handle);
const noise = (shape) => ({ data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i * 78.233) / 16), shape, dtype: 'float32' });
const factorsOf = (list, targets) =>
  Object.fromEntries(list.filter(({ name }) => targets.some((target) => name.endsWith(`.${target}`))).map(({ name, shape }) => [name, { down: noise([16, shape[1]]), up: noise([shape[0], 16]), alpha: 16, scale: 1 }]));
const weights = { unet: factorsOf(layers.unet, TARGETS.unetTargets), textEncoder: factorsOf(layers.textEncoder, TARGETS.textEncoderTargets), embeddings: {} };
for (const name of ['a', 'b']) sd.loras.add(weights, { name });
const latents = { data: wave(1).data.subarray(0, batch * 4 * side * side), shape: [batch, 4, side, side], dtype: 'float32' };
const context = { data: new Float32Array(batch * 77 * crossAttentionDim), shape: [batch, 77, crossAttentionDim], dtype: 'float32' };
const infer = (loras) => sd.predictNoise({ latents, timestep: 41, context, loras });
await infer({ a: 0, b: 0 });
say({ engine: `seedbed ${dtype}` });
for await (const line of createInterface(process.stdin)) {
  if (line === 'merged') {
    sd.loras.setScale('a', 1);
    sd.loras.setScale('b', 0);
    sd.loras.merge('a');
    await infer();
  }
  const begin = performance.now();
  if (line === 'switch') {
    for (const name of ['a', 'b']) {
      sd.loras.setScale(name, 0.7);
      sd.loras.setScale(name === 'a' ? 'b' : 'a', 0);
    }
  } else if (line === 'merged') await infer();
  else await infer(line === 'plain' ? { a: 0, b: 0 } : { a: 1, b: 0 });
  say({ seconds: (performance.now() - begin) / 1000 / (line === 'switch' ? 2 : 1) });
  if (line === 'merged') sd.loras.unmerge('a');
}
process.exit();
