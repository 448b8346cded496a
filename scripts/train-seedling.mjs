// Trains the seedling: autoencoder, dual encoder and UNet, from the corpus of scripts/seedling/corpus.mjs.
//
//   node scripts/train-seedling.mjs --corpus FOLDER/corpus --work FOLDER [--stage vae] [--threads N]
//
// Every stage saves its state in the work folder every few minutes and its networks at the end; run the same command again to go on. What it
// says goes to FOLDER/log.jsonl too.

import { appendFileSync, existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { trainAutoencoder } from '../dist/lib/index.js';
import { readSet } from './seedling/sets.mjs';

const { values } = parseArgs({ options: { corpus: { type: 'string' }, work: { type: 'string' }, stage: { type: 'string' }, threads: { type: 'string' } } });
if (values.corpus === undefined || values.work === undefined) throw new Error('Expected --corpus FOLDER and --work FOLDER');
mkdirSync(values.work, { recursive: true });
const threads = values.threads === undefined ? {} : { threads: Number(values.threads) };
const SAY_EVERY = 20;

const tell = (fields) => {
  const line = JSON.stringify({ time: new Date().toISOString(), ...fields });
  appendFileSync(join(values.work, 'log.jsonl'), `${line}\n`);
  console.log(line);
};

const STAGES = {
  // Squares of 32 pixels first, four times as many for the time; whole pictures last.
  vae: () => {
    const { pictures } = readSet(values.corpus, 'train');
    const validation = readSet(values.corpus, 'heldout-concepts').pictures;
    return trainAutoencoder(pictures, { ...common('vae'), steps: 3000, crop: 32, wholeSteps: 600, shardSize: 32, lr: 2e-3, validation, evaluateEvery: 200, checkpointEvery: 100 });
  },
};

function common(stage) {
  return { out: join(values.work, stage), checkpoint: join(values.work, `${stage}.checkpoint.safetensors`), resume: true, ...threads };
}

for (const [stage, start] of Object.entries(STAGES)) {
  if ((values.stage ?? stage) !== stage || existsSync(join(values.work, stage))) continue;
  let losses = [];
  let since = performance.now();
  for await (const event of start()) {
    if (event.type === 'evaluation' || event.type === 'check') tell({ stage, ...event });
    if (event.type !== 'step') continue;
    losses.push(event.loss);
    if (event.step % SAY_EVERY !== 0 && event.step !== event.steps) continue;
    const seconds = (performance.now() - since) / 1000;
    tell({ stage, step: event.step, loss: Number((losses.reduce((a, b) => a + b) / losses.length).toFixed(5)), lr: Number(event.lr.toPrecision(4)), secondsPerStep: Number((seconds / losses.length).toFixed(3)) });
    losses = [];
    since = performance.now();
  }
}
