// Trains the seedling: autoencoder, dual encoder and UNet, from the corpus of scripts/seedling/corpus.mjs.
//
//   node scripts/train-seedling.mjs --corpus FOLDER/corpus --work FOLDER [--stage vae|clip|words|towers|unet] [--threads N] [--precision float32|bfloat16] [--words-steps N] [--towers-steps N] [--unet-steps N] [--start FOLDER]
//
// Every stage saves its state in the work folder every few minutes and its networks at the end; run the same command again to go on. What it
// says goes to FOLDER/log.jsonl too. The UNet's rate falls to nothing over --unet-steps; --start names the unet folder of an earlier result (FOLDER/unet/unet), to go on from
// its weights and its text encoder's with a rate that rises again. --precision bfloat16 where the processor is faster in it (`seedbed doctor`).

import { appendFileSync, existsSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { trainAutoencoder, trainClip, trainDiffusion } from '../dist/lib/index.js';
import { preview } from './seedling/preview.mjs';
import { firstPictures, isPlain, readSet, selection } from './seedling/sets.mjs';

const { values } = parseArgs({ options: { corpus: { type: 'string' }, work: { type: 'string' }, stage: { type: 'string' }, threads: { type: 'string' }, precision: { type: 'string', default: 'float32' }, 'words-steps': { type: 'string', default: '450' }, 'towers-steps': { type: 'string', default: '1000' }, 'unet-steps': { type: 'string', default: '24000' }, start: { type: 'string' } } });
if (values.corpus === undefined || values.work === undefined) throw new Error('Expected --corpus FOLDER and --work FOLDER');
mkdirSync(values.work, { recursive: true });
const threads = values.threads === undefined ? {} : { threads: Number(values.threads) };
const TOKENIZER = fileURLToPath(new URL('../models/seedling/tokenizer', import.meta.url));
const SAY_EVERY = 20;
const PREVIEW_EVERY = 2000;
const CHECKED = 128; // pictures
const TOWERS = { batchSize: 256, shardSize: 64, lr: 1e-3, precision: values.precision, evaluateEvery: 100, checkpointEvery: 50 };
const OTHERS_EVERY = 35;
const VIEWS = { scale: [0.5, 1], ratio: [0.75, 4 / 3], flip: 0.5, randAugment: { fill: 255, probability: 0.7 } };
const SIDES = /\b(left|right)\b/; // what a mirrored view would give the lie
const PLAIN_REPEATS = 100; // plain drawings are a twentieth of the corpus, most of what people ask for, and where a thing's look is learned

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
  clip: () => {
    const { pictures, entries } = readSet(values.corpus, 'train');
    return trainClip(pictures, captionsOf(entries), {
      ...common('clip'), ...TOWERS, tokenizer: TOKENIZER, steps: 1600, groups: sameCaption(entries), validation: unseenStyle(), evaluateEvery: 200,
    });
  },
  // What a thing is called, once position, colours and number are known: in batches that are mostly plain drawings hardly anything else tells them apart.
  words: () => {
    const all = readSet(values.corpus, 'train');
    const plain = placesOf(all.entries, isPlainDrawing);
    const others = placesOf(all.entries, (_, i) => i % OTHERS_EVERY === 0);
    const { pictures, entries } = selection(all, [...plain, ...plain, ...others]);
    return trainClip(pictures, captionsOf(entries), { ...common('words'), ...TOWERS, start: join(values.work, 'clip'), steps: Number(values['words-steps']), groups: sameCaption(entries), validation: unseenStyle() });
  },
  // Both towers as they ship: on views that are never twice the same, from which far more of what an unseen style draws is found. The UNet's text encoder stays that of `words`.
  towers: () => {
    const all = readSet(values.corpus, 'train');
    const plain = placesOf(all.entries, isPlainDrawing);
    const others = placesOf(all.entries, ({ captions }, i) => i % OTHERS_EVERY === 0 && !captions.some((caption) => SIDES.test(caption)));
    const { pictures, entries } = selection(all, [...plain, ...plain, ...others]);
    const words = join(values.work, 'words');
    return trainClip(pictures, captionsOf(entries), {
      ...common('towers'), ...TOWERS, start: existsSync(join(words, 'image_encoder')) ? words : 'seedling', steps: Number(values['towers-steps']), averageDecay: 0.995, augment: VIEWS, groups: sameCaption(entries), validation: unseenStyle(),
    });
  },
  unet: () => {
    const { pictures, entries } = readSet(values.corpus, 'train');
    const held = readSet(values.corpus, 'heldout-pairs');
    const checked = { pictures: firstPictures(held.pictures, CHECKED), captions: captionsOf(held.entries.slice(0, CHECKED)) };
    return trainDiffusion(pictures, captionsOf(entries), {
      ...common('unet'), vae: join(values.work, 'vae'), clip: values.start ? dirname(values.start) : join(values.work, 'words'), steps: Number(values['unet-steps']), batchSize: 64, shardSize: 32, lr: 8e-4, textLr: 1.5e-4, precision: values.precision, averageDecay: 0.999, snrWeight: [1, 10], ...(values.start && { start: values.start }),
      repeats: entries.map((entry) => (isPlainDrawing(entry) ? PLAIN_REPEATS : 1)), checked, checkEvery: 250, checkpointEvery: 125,
    });
  },
};

const isDrawing = ({ style }) => style !== 'photo';

const isPlainDrawing = (entry) => isDrawing(entry) && isPlain(entry);

const placesOf = (entries, keep) => entries.flatMap((entry, i) => (keep(entry, i) ? [i] : []));

const captionsOf = (entries) => entries.map(({ captions }) => captions);

/** The plain captions of the unseen style, in words of a seen one, say how well pictures and words have met. */
function unseenStyle() {
  const { pictures, entries } = readSet(values.corpus, 'twemoji');
  return { pictures, captions: entries.map(({ captions }) => captions[0].replace('a sticker of', 'a flat drawing of')) };
}

/** Pictures with one caption are no wrong answers to each other's: hundreds of photos are 'a grey photo of a dress'. */
const sameCaption = (entries) => numbered(entries.map(({ captions: [first] }) => first));

/** Equal texts as equal numbers. */
function numbered(texts) {
  const numbers = new Map();
  return texts.map((text) => {
    if (!numbers.has(text)) numbers.set(text, numbers.size);
    return numbers.get(text);
  });
}

function common(stage) {
  return { out: join(values.work, stage), checkpoint: join(values.work, `${stage}.checkpoint.safetensors`), resume: true, ...threads };
}

for (const [stage, start] of Object.entries(STAGES)) {
  if ((values.stage ?? stage) !== stage || existsSync(join(values.work, stage))) continue;
  let losses = [];
  let since = performance.now();
  for await (const event of start()) {
    if (event.type === 'evaluation' || event.type === 'check') tell({ stage, ...event });
    if (event.type === 'checkpoint' && stage === 'unet' && event.step % PREVIEW_EVERY === 0)
      await preview(common(stage).checkpoint, { vae: join(values.work, 'vae'), clip: join(values.work, 'words'), out: join(values.work, 'preview.png'), ...threads });
    if (event.type !== 'step') continue;
    losses.push(event.loss);
    if (event.step % SAY_EVERY !== 0 && event.step !== event.steps) continue;
    const seconds = (performance.now() - since) / 1000;
    tell({ stage, step: event.step, loss: Number((losses.reduce((a, b) => a + b) / losses.length).toFixed(5)), lr: Number(event.lr.toPrecision(4)), secondsPerStep: Number((seconds / losses.length).toFixed(3)) });
    losses = [];
    since = performance.now();
  }
}
