// Training steps of an autoencoder and of a diffusion model at the seedling's sizes, in pictures per second, beside the same networks in Python:
// diffusers and PyTorch on the same threads, float32 and bfloat16 autocast, fused AdamW. Ours holds all that a run does: reading and cutting
// pictures, drawing captions and noise, encoding captions, moving averages. The peer gets ready tensors, encodes captions and updates.
//
//   npm run bench -- pretrain [--quick] [--json]

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { trainAutoencoder, trainClip, trainDiffusion } from '../dist/lib/index.js';
import { compare, finish, flags, Peer, requirePython, inTurn, say } from './lib.mjs';

requirePython(['torch', 'diffusers', 'transformers'], 'pip install torch==2.13.0 diffusers transformers accelerate');

const threads = Number(process.env.SEEDBED_THREADS ?? availableParallelism());
const rounds = flags.quick ? 1 : 4;
const BATCH = 64;
const SIDE = 64;
const count = 512;
const pictures = { data: Uint8Array.from({ length: count * SIDE * SIDE * 3 }, (_, i) => (Math.floor(i / 7) * 37 + i * 11) % 256), count, width: SIDE, height: SIDE };
const captions = Array.from({ length: count }, (_, i) => `a flat drawing of a strawberry number ${i} on a red background`);
const work = mkdtempSync(join(tmpdir(), 'seedbed-bench-'));
const [vae, clip] = [join(work, 'vae'), join(work, 'clip')];
let runs = 0;

/** Seconds of the steps after the first. */
async function timed(job) {
  let begin = 0;
  let end = 0;
  for await (const event of job) {
    if (event.type !== 'step') continue;
    if (event.step === 1) begin = performance.now();
    end = performance.now();
  }
  return (end - begin) / 1000;
}

const CASES = [
  { title: 'autoencoder, 32 x 32 squares', peer: ['autoencoder', 32], steps: 8, job: (common) => trainAutoencoder(pictures, { ...common, crop: 32, wholeSteps: 0, shardSize: 32 }) },
  { title: 'autoencoder, whole pictures', peer: ['autoencoder', 64], steps: 3, job: (common) => trainAutoencoder(pictures, { ...common, shardSize: 32 }) },
  { title: 'UNet of 11 M parameters', peer: ['unet', 16], steps: 4, job: (common) => trainDiffusion(pictures, captions, { ...common, vae, clip, shardSize: 32 }) },
  { title: 'UNet of 11 M parameters, seedbed in bfloat16 too', peer: ['unet', 16], steps: 4, job: (common) => trainDiffusion(pictures, captions, { ...common, vae, clip, shardSize: 32, precision: 'bfloat16' }) },
];

try {
  const warm = { threads, batchSize: 8, steps: 1 };
  mkdirSync(work, { recursive: true });
  await trainAutoencoder(pictures, { ...warm, out: vae });
  await trainClip(pictures, captions, { ...warm, out: clip, tokenizer: join('models', 'seedling', 'tokenizer') });
  say(`${threads} threads, batch ${BATCH}; ${rounds} rounds in turn, medians`);
  const ratios = {};
  for (const { title, peer: [kind, side], steps, job } of CASES) {
    const ours = () => timed(job({ out: join(work, `run-${runs++}`), steps: steps + 1, batchSize: BATCH, threads }));
    const peers = {};
    for (const precision of ['float32', 'bfloat16']) {
      const peer = new Peer('pretrain.py', [kind, side, BATCH, steps, precision, threads].map(String), { OMP_NUM_THREADS: String(threads) });
      const { torch } = await peer.ready();
      peers[`PyTorch ${torch} ${precision}`] = peer;
    }
    const contestants = { seedbed: ours, ...Object.fromEntries(Object.entries(peers).map(([name, peer]) => [name, () => peer.round()])) };
    const seconds = await inTurn(rounds, contestants);
    for (const peer of Object.values(peers)) await peer.close();
    Object.assign(ratios, compare(title, 'pictures/s', Object.fromEntries(Object.entries(seconds).map(([name, s]) => [name, (steps * BATCH) / s]))));
  }
  finish('pretrain', ratios, { threads });
} finally {
  rmSync(work, { recursive: true, force: true });
}
