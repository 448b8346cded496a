// Small networks that learn from formulas alone: what the evidence compares and the package ships.

import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fractals, pretrainOnFractals } from '../../dist/lib/index.js';
import { digestOf } from '../evidence/rows.mjs';

// Solid patches (an option of the released code) keep their shape at 32 pixels; random ones become dust there. Colours (`colourise`) are not in the paper, whose pictures stay gray.
// RandAugment is the paper's, but its shears and turns hide the differences between copies from nets this small.
export const RENDER = { size: 128, points: 25_000, padding: 4, value: 255, mask: 'fill' };
export const PRETRAIN = { batchSize: 64, shardSize: 32, clipNorm: 1, lr: 1e-3, minLr: 1e-5, warmupLr: 1e-6, labelSmoothing: 0.1, seed: 0, precision: 'bfloat16' };
/** From easy to hard, or the loss stays at that of guessing for long: more classes, smaller crops, more colours. Shares of all updates. */
export const STAGES = [
  { count: 16, share: 0.05, augment: { scale: [0.5, 1], colourise: 0.5 } },
  { count: 64, share: 0.2, augment: { scale: [0.35, 1], colourise: 0.8 } },
  { count: 256, share: 0.75, augment: { scale: [0.25, 1], colourise: 0.9 } },
];
const FLIPS = { flip: 0.5, flipVertical: 0.5 };
const SYSTEMS_SEED = 1;
const SAID_EVERY = 500; // updates

/** What classes are, by name; each gives the classes' pictures. */
export const KINDS = {
  '1p-frac': async (count, threads) => {
    const { copies, textureSeeds } = await fractals.family({ ...RENDER, count, seed: SYSTEMS_SEED, ...threads });
    return copies.map((ifs, i) => [{ ifs, textureSeed: textureSeeds[i], flip: 'none' }]);
  },
  FractalDB: async (count, threads) => {
    const { systems } = await fractals.search({ count, seed: SYSTEMS_SEED, size: RENDER.size, points: RENDER.points, padding: RENDER.padding, ...threads });
    return systems.map((system) => fractals.instances(system, { patterns: 1, flips: ['none'] }));
  },
};

/** Everything that decides a backbone but for its network and kind. */
export const recipeOf = (updates) => ({ PRETRAIN, STAGES, FLIPS, RENDER, SYSTEMS_SEED, updates });

/** The folder of a backbone, which is trained if it is not there; each stage ends in one of its own, with `stage.json`. A run that was stopped goes on. */
export async function pretrained({ work, net, kind, updates, threads = {} }) {
  mkdirSync(work, { recursive: true });
  const name = join(work, `${net}-${kind}-${digestOf(recipeOf(updates))}`);
  let before;
  for (const [stage, { count, share, augment }] of STAGES.entries()) {
    const folder = stage === STAGES.length - 1 ? name : `${name}-stage-${stage}`;
    if (!existsSync(join(folder, 'config.json'))) {
      const steps = Math.round(share * updates);
      const job = pretrainOnFractals({ classes: await KINDS[kind](count, threads), render: RENDER, ...(before === undefined ? { model: net } : { init: before }), ...PRETRAIN, steps, warmupSteps: Math.min(100, Math.round(steps / 10)), augment: { ...augment, ...FLIPS }, checkpoint: `${folder}.checkpoint.safetensors`, checkpointEvery: SAID_EVERY, resume: true, ...threads });
      for await (const { step, loss } of meansOf(job, SAID_EVERY)) {
        appendFileSync(`${name}.log.jsonl`, `${JSON.stringify({ stage, step, loss: Number(loss.toFixed(4)) })}\n`);
        console.log(`${net}, ${kind}, ${count} classes: update ${step} of ${steps}, loss ${loss.toFixed(3)} (guessing: ${Math.log(count).toFixed(2)})`);
      }
      const backbone = await job;
      await backbone.save(folder);
      backbone.dispose();
    }
    before = folder;
  }
  return { folder: before, stages: stagesOf(`${name}.log.jsonl`, updates) };
}

/** The loss of a training, averaged over so many updates. */
async function* meansOf(job, every) {
  let [sum, seen] = [0, 0];
  for await (const event of job) {
    if (event.type !== 'step') continue;
    [sum, seen] = [sum + event.loss, seen + 1];
    if (event.step % every !== 0 && event.step !== event.steps) continue;
    yield { step: event.step, loss: sum / seen };
    [sum, seen] = [0, 0];
  }
}

/** What each stage saw, and how its loss went; a run that was killed may have said an update twice. */
function stagesOf(log, updates) {
  const rows = existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n').map((line) => JSON.parse(line)) : [];
  return STAGES.map(({ count, share }, stage) => {
    const curve = [...new Map(rows.filter((row) => row.stage === stage).map(({ step, loss }) => [step, loss]))].sort(([a], [b]) => a - b);
    return { count, samples: Math.round(share * updates) * PRETRAIN.batchSize, finalLoss: curve.at(-1)?.[1], chance: Number(Math.log(count).toFixed(4)), curve };
  });
}
