import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { Dataset } from '../data/dataset.js';
import { confusionOf, fewShotStudy, type FewShotResult } from '../experiment/few-shot.js';
import { fractals } from '../fractal.js';
import type { FractalFamily } from '../ifs.js';
import { contactSheet, dataUri, framed, scaleImage } from '../image.js';
import { follow, Job } from '../job.js';
import { onePFrac } from '../methods/one-p-frac.js';
import { abortSignal, checkOptions, positiveInt } from '../options.js';
import { DEFAULT_BACKBONE } from '../saved-classifier.js';
import { packageRoot } from '../setup/find.js';
import { originOf } from '../report/origin.js';
import { SHOWN_COPIES, type DemoRecord, type Part } from '../report/record.js';
import { openDemoData } from './data.js';

const schema = z.strictObject({
  /** Runs of each start. Default 3. */
  seeds: positiveInt.max(1000).default(3),
  /** Pictures per class, at most 24. Default 8. */
  shots: positiveInt.max(24).default(8),
  /** Steps of each fine-tuning run. Default 150. */
  steps: positiveInt.default(150),
  /** Steps of the live pre-training. Default 150. */
  pretrainSteps: positiveInt.default(150),
  signal: abortSignal.optional(),
});

export type FractalDemoOptions = z.input<typeof schema>;

export type FractalDemoEvent = { type: 'part'; name: string; detail: string } | { type: 'progress'; done: number; total: number; detail: string };

const MODEL = 'resnet_nano_32';
const FRACTAL = { size: 128, points: 25_000, padding: 4, count: 16, delta: 0.1, value: 255, mask: 'fill', fractalSeed: 2 } as const;
const WARMUP_PART = 10; // a tenth of the steps
const BASE_SIDE = 480; // pixels
const SHOWN_ANSWERS = 12; // per class

/** How every arm is trained after its start; fixed on held-out concepts of the training vendors. */
const FINE_TUNING = {
  batchSize: 32,
  shardSize: 16,
  lr: 1e-3,
  minLr: 1e-6,
  labelSmoothing: 0.1,
  clipNorm: 1,
  augment: { scale: [0.5, 1], flip: 0.5 },
} as const;

/** The live pre-training: short, and easy enough to be seen to learn. */
const LIVE_TRAINING = {
  model: MODEL,
  batchSize: 64,
  shardSize: 32,
  lr: 1e-3,
  clipNorm: 1,
  labelSmoothing: 0,
  mixup: false,
  dropPath: 0,
  augment: { scale: [0.5, 1], flip: 0.5, flipVertical: 0.5 },
} as const;

/** From a formula to a trained classifier on real images, in minutes; the record says what it was worth. */
export function fractalDemo(options: FractalDemoOptions = {}): Job<FractalDemoEvent, DemoRecord> {
  const { seeds, shots, steps, pretrainSteps, signal } = checkOptions(schema, options, 'fractalDemo');
  return new Job<FractalDemoEvent, DemoRecord>(
    async ({ emit, signal: inner }) => {
      const parts: Part[] = [];
      const timed = async <T>(name: string, detail: string, work: () => Promise<T>): Promise<T> => {
        emit({ type: 'part', name, detail });
        const begin = performance.now();
        const result = await work();
        parts.push({ name, seconds: (performance.now() - begin) / 1000 });
        return result;
      };

      const { pool, test } = await timed('read the emoji', 'real pictures of three vendors', openDemoData);
      const live = await timed('pre-train live', `one fractal, ${FRACTAL.count} perturbed copies`, () =>
        follow(onePFrac({ ...FRACTAL, ...LIVE_TRAINING, steps: pretrainSteps, warmupSteps: Math.round(pretrainSteps / WARMUP_PART), signal: inner }), (event) => {
          if (event.type === 'step') emit({ type: 'progress', done: event.step, total: event.steps, detail: `loss ${event.loss.toFixed(2)}` });
        }),
      );
      const arms = [{ name: 'from scratch' }, { name: 'after the live pre-training', init: live.backbone }, { name: 'from the shipped backbone', init: DEFAULT_BACKBONE }];
      const train = { ...FINE_TUNING, model: MODEL, steps, warmupSteps: Math.round(steps / WARMUP_PART) } as const;
      const parameters = live.backbone.info.parameters;
      const study = await timed('learn from few pictures', `${arms.length} starts, ${seeds} runs each, ${shots} pictures per class`, () =>
        follow(fewShotStudy({ pool, test, shots, seeds, arms, train, signal: inner }), (event) => {
          if (event.type === 'run') emit({ type: 'progress', done: event.done, total: event.total, detail: `${event.arm}: ${(100 * event.accuracy).toFixed(1)} % right` });
        }),
      );
      live.backbone.dispose();
      const pictures = await timed('draw the pictures', 'for the report', async () => ({
        base: await dataUri(await fractals.picture(live.family.base, { size: BASE_SIDE, colourBy: 'map', signal: inner })),
        fractals: await fractalStrip(live.family),
        shots: await shotSheet(pool.subset({ shots, seed: 0 })),
        answers: await answerSheet(test, study),
      }));
      return {
        kind: 'demo',
        origin: await originOf(),
        study,
        fineTuning: { steps, batchSize: FINE_TUNING.batchSize, model: MODEL, parameters },
        live: { samples: live.samples, copies: live.family.copies.length, losses: live.losses, base: live.family.base, sigmaFactor: fractals.describe(live.family.base).sigmaFactor, delta: FRACTAL.delta },
        shipped: await shippedRecord(),
        pictures,
        confusion: confusionOf(test, study.arms.at(-1)),
        parts,
      };
    },
    { signal },
  );
}

async function shippedRecord(): Promise<DemoRecord['shipped']> {
  const { kind, stages } = JSON.parse(await readFile(join(packageRoot, 'models', DEFAULT_BACKBONE, 'training.json'), 'utf8')) as Pick<DemoRecord['shipped'], 'kind' | 'stages'>;
  return { kind, samples: stages.reduce((sum, stage) => sum + stage.samples, 0), stages };
}

async function fractalStrip(family: FractalFamily): Promise<string> {
  const { size, points, padding, mask } = FRACTAL;
  const copies = family.copies.slice(0, SHOWN_COPIES);
  const scale = 2; // twice the pixels for the eye, from the same numbers
  const images = await fractals.render(copies, { size: size * scale, points: points * scale ** 2, padding: padding * scale, value: 255, mask, textureSeeds: family.textureSeeds.slice(0, SHOWN_COPIES) });
  return dataUri(contactSheet(copies.map((_, i) => fractals.image(images, i)), SHOWN_COPIES / 2, 6));
}

async function shotSheet(shots: Dataset): Promise<string> {
  const samples = (await shots.load()).sort((a, b) => a.label - b.label);
  return dataUri(contactSheet(samples.map((sample) => sample.image), samples.length / shots.classes.length, 8));
}

async function answerSheet(test: Dataset, study: FewShotResult): Promise<string> {
  const answers = study.arms.at(-1)?.runs[0]?.predictions ?? [];
  const samples = (await test.load()).map((sample, i) => ({ ...sample, right: answers[i] === sample.label }));
  const shown = test.classes.flatMap((_, label) => samples.filter((sample) => sample.label === label).slice(0, SHOWN_ANSWERS));
  const images = await Promise.all(shown.map(async ({ image, right }) => framed(await scaleImage(image, 56), 4, right ? [0, 158, 115] : [213, 94, 0])));
  return dataUri(contactSheet(images, SHOWN_ANSWERS, 4));
}
