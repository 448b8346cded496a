// A dataset from a few pictures per class, beside the same in diffusers with PEFT: as DataDream's released code works, which loads the model anew for each class, and
// with what an engineer would mend first (one model in memory, prompts encoded once, latents kept, the adapter folded into the weights, pictures drawn in the numbers that are fastest here). On the seedling; adapters are trained in float32 by all.
//
//   npm run bench -- grow [--quick] [--json]

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { dataDream, Dataset, encodePng, loadDiffusion } from '../dist/lib/index.js';
import { compare, finish, flags, inTurn, Peer, requirePython, say } from './lib.mjs';

requirePython(['torch', 'diffusers', 'transformers', 'peft', 'PIL'], 'pip install torch==2.13.0 diffusers transformers accelerate peft pillow');

const threads = Number(process.env.SEEDBED_THREADS ?? availableParallelism());
const [CLASSES, SHOTS, SIDE] = [2, 8, 64];
const ADAPT = { steps: 40, batchSize: 8, rank: 16 };
const GENERATE = { perClass: 32, steps: 25, batchSize: 8, guidanceScale: 2 };
const rounds = flags.quick ? 1 : 3;

const work = mkdtempSync(join(tmpdir(), 'seedbed-grow-'));
try {
  const model = join(work, 'model');
  const sd = await loadDiffusion('seedling', { device: 'cpu', dtype: 'float32' });
  await sd.save(model, { dtype: 'float32' });
  sd.dispose();
  const fastest = await loadDiffusion('seedling', { device: 'cpu' });
  const { dtype } = fastest.info;
  fastest.dispose();

  const picture = (i) => ({ data: Uint8Array.from({ length: SIDE * SIDE * 3 }, (_, j) => (i * 37 + j * 11) % 256), width: SIDE, height: SIDE, channels: 3 });
  const names = Array.from({ length: CLASSES }, (_, label) => `class ${label}`);
  const shots = names.flatMap((_, label) => Array.from({ length: SHOTS }, (_, i) => ({ key: `${label}-${i}`, label, image: picture(label * SHOTS + i) })));
  for (const { key, label, image } of shots) {
    mkdirSync(join(work, 'shots', names[label]), { recursive: true });
    writeFileSync(join(work, 'shots', names[label], `${key}.png`), await encodePng(image));
  }
  const data = new Dataset({ name: 'noise', classes: names, entries: shots.map(({ key, label, image }) => ({ key, label, read: () => Promise.resolve(image) })) });

  const parts = {};
  let run = 0;
  const ours = async () => {
    const out = join(work, `ours-${run++}`);
    const begin = performance.now();
    const result = await dataDream({ model, data, out, adapt: { ...ADAPT, crop: 'center' }, generate: { ...GENERATE, dtype }, filter: false, compare: false, threads });
    for (const { name, seconds } of result.parts) parts[name] = seconds;
    return (performance.now() - begin) / 1000;
  };
  const peers = {};
  for (const kind of ['released', 'mended']) {
    peers[kind] = new Peer('grow.py', [kind, model, join(work, 'shots'), join(work, kind), ADAPT.steps, ADAPT.batchSize, ADAPT.rank, GENERATE.perClass, GENERATE.steps, GENERATE.batchSize, threads, dtype].map(String), { OMP_NUM_THREADS: String(threads) });
    await peers[kind].ready();
  }
  const seconds = await inTurn(rounds, { seedbed: ours, 'diffusers, as released': () => peers.released.round(), 'diffusers, mended': () => peers.mended.round() });
  for (const peer of Object.values(peers)) await peer.close();
  const pictures = CLASSES * GENERATE.perClass;
  const title = `${CLASSES} classes: ${ADAPT.steps} updates on ${SHOTS} pictures, ${GENERATE.perClass} pictures of ${GENERATE.steps} steps each, drawn in ${dtype} (as released: float32)`;
  const ratios = compare(title, 'pictures/s', Object.fromEntries(Object.entries(seconds).map(([name, s]) => [name, pictures / s])));
  for (const [name, s] of Object.entries(seconds)) say(`  ${name.padEnd(26)} ${s.toFixed(1)} s`);
  say(`  ours, last round: ${Object.entries(parts).map(([name, s]) => `${name} ${s.toFixed(2)} s`).join(', ')}`);
  finish('grow', ratios, { threads });
} finally {
  rmSync(work, { recursive: true, force: true });
}
