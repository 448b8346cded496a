// Pre-trains the shipped backbone models/fractal-vit-nano from one fractal.
//
//   node scripts/pretrain-fractal.mjs --work FOLDER [--stages 0,1,2] [--out models/fractal-vit-nano]
//
// A curriculum, since the full task does not start to be learnt within minutes (docs/papers/one-p-frac.md): few copies and
// weak crops first, then more copies, then the paper's augmentation. Every stage saves its state in FOLDER every 500 steps
// and its backbone at the end; run the same command again to go on. About 400 pictures a second on 2 cores.

import { existsSync, mkdirSync, appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { loadClassifier, onePFrac } from '../dist/lib/index.js';

const { values } = parseArgs({
  options: { work: { type: 'string' }, out: { type: 'string', default: 'models/fractal-vit-nano' }, stages: { type: 'string' }, threads: { type: 'string' } },
});
if (values.work === undefined) throw new Error('Expected --work FOLDER for checkpoints');
mkdirSync(values.work, { recursive: true });

const FRACTAL = { size: 128, points: 25_000, padding: 4, sigmaFactor: 3.5, delta: 0.1, value: 255, mask: 'fill', fractalSeed: 2 };
const COMMON = { ...FRACTAL, batchSize: 64, shardSize: 32, clipNorm: 1, lr: 1e-3, minLr: 1e-5, warmupLr: 1e-6, warmupSteps: 100, mixup: false, dropPath: 0, labelSmoothing: 0, seed: 0 };
const flips = { flip: 0.5, flipVertical: 0.5 };

// `colourise` is not in the paper, whose pictures stay gray; with it from the start, nothing is learnt for a long time.
// Solid patches (`mask: 'fill'`, an option of the code) keep their shape at 32 pixels; random ones become dust there.
// RandAugment is the paper's, but its shears and turns hide the differences between copies from a net this small.
const STAGES = [
  { count: 16, steps: 1_000, augment: { scale: [0.5, 1], ...flips } },
  { count: 32, steps: 2_000, augment: { scale: [0.4, 1], ...flips, colourise: 0.5 } },
  { count: 64, steps: 5_000, augment: { scale: [0.35, 1], ...flips, colourise: 0.8 } },
  { count: 256, steps: 20_000, labelSmoothing: 0.1, augment: { scale: [0.25, 1], ...flips, colourise: 0.9, randomErasing: { probability: 0.25 } } },
  { count: 1000, steps: 60_000, labelSmoothing: 0.1, dropPath: 0.05, augment: { scale: [0.2, 1], ...flips, colourise: 0.9, randomErasing: { probability: 0.25 } } },
];

const wanted = values.stages === undefined ? STAGES.map((_, i) => i) : values.stages.split(',').map(Number);
const log = join(values.work, 'log.jsonl');
const folderOf = (stage) => join(values.work, `stage-${stage}`);

for (const stage of wanted) {
  if (existsSync(join(folderOf(stage), 'config.json'))) continue;
  const checkpoint = join(values.work, `stage-${stage}.checkpoint.safetensors`);
  const job = onePFrac({
    model: 'vit_nano_patch4_32',
    ...(stage > 0 && { init: folderOf(stage - 1) }),
    ...COMMON,
    ...STAGES[stage],
    ...(values.threads && { threads: Number(values.threads) }),
    checkpoint,
    checkpointEvery: 500,
    resume: true,
  });
  let sum = 0;
  let count = 0;
  let since = Date.now();
  for await (const event of job) {
    if (event.type === 'collapse') console.log('collapse', event);
    if (event.type !== 'step') continue;
    sum += event.loss;
    count++;
    if (event.step % 100 !== 0 && event.step !== event.steps) continue;
    const line = { stage, step: event.step, loss: Number((sum / count).toFixed(4)), lr: event.lr, perSecond: Math.round((count * COMMON.batchSize * 1000) / (Date.now() - since)) };
    appendFileSync(log, `${JSON.stringify(line)}\n`);
    console.log(JSON.stringify(line));
    sum = count = 0;
    since = Date.now();
  }
  const { backbone, samples } = await job;
  await backbone.save(folderOf(stage));
  const recordFile = join(values.work, 'record.json');
  const record = existsSync(recordFile) ? JSON.parse(readFileSync(recordFile, 'utf8')) : { stages: [] };
  record.stages[stage] = { ...STAGES[stage], samples, finalLoss: Number((backbone.training.losses.slice(-200).reduce((a, b) => a + b, 0) / Math.min(200, backbone.training.losses.length)).toFixed(4)), chance: Number(Math.log(STAGES[stage].count).toFixed(4)) };
  writeFileSync(recordFile, `${JSON.stringify(record, null, 2)}\n`);
  backbone.dispose();
  const saved = await loadClassifier(folderOf(stage));
  await saved.save(values.out, { dtype: 'float16' });
  writeFileSync(join(values.out, 'training.json'), `${JSON.stringify({ fractal: FRACTAL, common: COMMON, ...record }, null, 2)}\n`);
  saved.dispose();
}
