// Vision transformer training images per second, beside PyTorch in Python on the same libtorch version and threads.
// Ours includes preparing the pictures (crop of the whole, resize where needed); PyTorch gets ready tensors.
//
//   npm run bench -- train [--quick] [--json]

import { availableParallelism } from 'node:os';
import { Dataset, trainClassifier } from '../dist/lib/index.js';
import { compare, finish, flags, Peer, requirePython, inTurn, say } from './lib.mjs';

requirePython(['torch', 'timm'], 'pip install torch==2.13.0 && pip install --no-deps timm==1.0.31 torchvision==0.28.0 && pip install pyyaml huggingface_hub safetensors numpy pillow');

const threads = Number(process.env.SEEDBED_THREADS ?? availableParallelism());
const CASES = [
  { title: 'ViT-Ti/16 at 224, batch 64, float32', model: 'vit_tiny_patch16_224', size: 224, batch: 64, steps: 2, shardSize: 16 },
  { title: 'ViT-Ti/16 at 224, batch 64, bfloat16', model: 'vit_tiny_patch16_224', size: 224, batch: 64, steps: 2, shardSize: 16, precision: 'bfloat16' },
  { title: 'ViT-nano/4 at 32, batch 64, float32', model: 'vit_nano_patch4_32', size: 32, batch: 64, steps: 12, shardSize: 32 },
  { title: 'ViT-nano/4 at 32, batch 64, bfloat16', model: 'vit_nano_patch4_32', size: 32, batch: 64, steps: 12, shardSize: 32, precision: 'bfloat16' },
];
const SIZES = { vit_tiny_patch16_224: { patch: 16, width: 192, depth: 12, heads: 3 }, vit_nano_patch4_32: { patch: 4, width: 128, depth: 6, heads: 2 } };
const CLASSES = 100;
const rounds = flags.quick ? 2 : 5;

function pictures(count, size) {
  const image = (i) => ({ data: Uint8Array.from({ length: size * size * 3 }, (_, j) => (i * 37 + j * 11) % 256), width: size, height: size, channels: 3 });
  const images = Array.from({ length: count }, (_, i) => image(i));
  return new Dataset({ name: 'noise', classes: Array.from({ length: CLASSES }, (_, i) => String(i)), entries: images.map((content, i) => ({ key: String(i), label: i % CLASSES, read: async () => content })) });
}

/** Seconds of `steps` steps, after one that warms up. */
async function train({ model, batch, steps, shardSize, precision = 'float32' }, data) {
  let begin = 0;
  let end = 0;
  const job = trainClassifier({ model, train: data, steps: steps + 1, batchSize: batch, shardSize, precision, threads, optimizer: { type: 'adamw' }, augment: { scale: [1, 1], ratio: [1, 1], flip: 0 } });
  for await (const event of job) {
    if (event.type !== 'step') continue;
    if (event.step === 1) begin = performance.now();
    end = performance.now();
  }
  (await job).dispose();
  return (end - begin) / 1000;
}

say(`${threads} threads, AdamW; ${rounds} rounds in turn, medians`);
const ratios = {};
for (const test of CASES) {
  const { title, model, size, batch, steps, precision = 'float32' } = test;
  const data = pictures(128, size);
  const { patch, width, depth, heads } = SIZES[model];
  const peer = new Peer('vit.py', [size, patch, width, depth, heads, CLASSES, batch, steps, precision, threads].map(String), { OMP_NUM_THREADS: String(threads) });
  const { torch } = await peer.ready();
  const seconds = await inTurn(rounds, { seedbed: () => train(test, data), [`PyTorch ${torch}`]: () => peer.round() });
  await peer.close();
  Object.assign(ratios, compare(title, 'images/s', Object.fromEntries(Object.entries(seconds).map(([name, s]) => [name, (steps * batch) / s]))));
}
finish('train', ratios, { threads });
