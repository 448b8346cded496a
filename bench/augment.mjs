// Views for training per second of one core: random resized crop of 512 to 224 pixels (bicubic), flip, RandAugment, normalised planes, beside timm on Pillow. Both begin with
// decoded pictures in memory; timm makes gray ones RGB first, as its loader does. What they make is used again (ours) or freed at once (timm's), so that neither waits for new pages.
//
//   npm run bench -- augment [--quick] [--json]

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { augmentImages, fractals } from '../dist/lib/index.js';
import { compare, finish, flags, inTurn, Peer, requirePython, say } from './lib.mjs';

requirePython(['torch', 'timm'], 'pip install torch==2.13.0 && pip install --no-deps timm==1.0.31 torchvision==0.28.0 && pip install pyyaml huggingface_hub safetensors numpy pillow');

const [COUNT, SIDE, CROP] = [32, 512, 224];
const rounds = flags.quick ? 3 : 9;

/** Fractals, and pictures with smooth colours and edges. */
const { copies } = await fractals.family({ count: COUNT, seed: 3, size: SIDE });
const rendered = (await fractals.render(copies, { size: SIDE })).data;
const KINDS = {
  'gray fractals': copies.map((_, i) => ({ data: rendered.subarray(i * SIDE ** 2, (i + 1) * SIDE ** 2), width: SIDE, height: SIDE, channels: 1 })),
  'colour pictures': Array.from({ length: COUNT }, (_, i) => {
    const data = new Uint8Array(SIDE * SIDE * 3);
    for (let at = 0; at < data.length; at++) {
      const [x, y, c] = [Math.floor(at / 3) % SIDE, Math.floor(at / 3 / SIDE), at % 3];
      data[at] = 127 + 80 * Math.sin((x * (i + 3) + c * 99) / 400) * Math.cos((y * (i + 7)) / 500) + (((x >> 6) ^ (y >> 6) ^ i) & 1) * 40;
    }
    return { data, width: SIDE, height: SIDE, channels: 3 };
  }),
};

say(`${COUNT} pictures of ${SIDE} x ${SIDE}, views of ${CROP} x ${CROP}; one thread each; ${rounds} rounds in turn, medians`);
const folder = mkdtempSync(join(tmpdir(), 'bench-'));
const ratios = {};
for (const [kind, images] of Object.entries(KINDS)) {
  const file = join(folder, 'pictures');
  writeFileSync(file, Buffer.concat(images.map(({ data }) => data)));
  const [{ channels }] = images;
  for (const policy of ['none', 'randaugment']) {
    const peer = new Peer('augment.py', [file, COUNT, SIDE, channels, CROP, policy].map(String), { OMP_NUM_THREADS: '1' });
    await peer.ready();
    const out = new Float32Array(COUNT * 3 * CROP * CROP);
    let seed = 0;
    const ours = async () => {
      const begin = performance.now();
      await augmentImages(images, { size: CROP, augment: { randAugment: policy === 'randaugment' && { magnitudeStd: 0 } }, out, threads: 1, seed: seed++ });
      return (performance.now() - begin) / 1000;
    };
    const seconds = await inTurn(rounds, { seedbed: ours, 'timm on Pillow': () => peer.round() });
    await peer.close();
    Object.assign(ratios, compare(`${kind}, ${policy === 'none' ? 'crop and flip' : 'crop, flip and RandAugment'}`, 'views/s', Object.fromEntries(Object.entries(seconds).map(([name, s]) => [name, COUNT / s]))));
  }
}
rmSync(folder, { recursive: true });
finish('augment', ratios);
