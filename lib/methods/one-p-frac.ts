import { z } from 'zod';
import { Classifier, trainOnImageSet } from '../classifier.js';
import { MODEL_NAMES, trainFields } from '../train-options.js';
import { follow, Job } from '../job.js';
import { familyFields, fractals, renderFields, type FamilyOptions } from '../fractal.js';
import { storageField, withFractalSet, type FractalSetOptions } from '../fractal-pictures.js';
import { ifsSchema, type FractalFamily } from '../ifs.js';
import type { TrainEvent } from '../native.js';
import { checkOptions, defined, seed, abortSignal } from '../options.js';

/** Training loss within this of ln L, after this share of the steps, means that nothing was learnt. */
const COLLAPSE_MARGIN = 0.02;
const COLLAPSE_CHECK_STEPS = 300;

const { seed: _seed, precision: renderPrecision, ...systemFields } = familyFields;
const { precision: _precision, ...pictureFields } = renderFields;

/** Those of `fractals.family`, but for the names that training has too. */
const fractalFields = {
  ...systemFields,
  /** Numbers to draw pictures in: `precision` of `fractals.render`. */
  renderPrecision,
  /** The system, in place of a drawn one. */
  base: ifsSchema.optional(),
  ...storageField,
  /** Seed of the fractal and its copies. Default: `seed`. */
  fractalSeed: seed.optional(),
};

const { signal: _signal, ...stageTrainFields } = trainFields;

const stageSchema = z.strictObject({ ...fractalFields, ...stageTrainFields });

const schema = z.strictObject({
  /** Default `vit_tiny_patch16_224`. */
  model: z.enum(MODEL_NAMES).optional(),
  /** A backbone to go on from. */
  init: z.union([z.string().min(1), z.instanceof(Classifier)]).optional(),
  /** A curriculum: each stage overrides the options around it and starts from the backbone of the stage before. Default: one stage. */
  stages: z.array(stageSchema).min(1).optional(),
  ...fractalFields,
  ...stageTrainFields,
  signal: abortSignal.optional(),
});

export type OnePFracOptions = z.input<typeof schema>;
type Stage = z.output<typeof stageSchema>;

export type OnePFracEvent =
  | (TrainEvent & { stage: number })
  /** The systems of a stage are drawn and rendered. */
  | { type: 'fractals'; stage: number; family: FractalFamily; milliseconds: number }
  /** The loss has not left ln L: this perturbation cannot be told apart, or the steps are far too few. */
  | { type: 'collapse'; stage: number; step: number; loss: number; expected: number };

export interface OnePFracResult {
  /** The pre-trained network; its classes are the copies. Give it to `trainClassifier` as `init`. */
  backbone: Classifier;
  /** Augmented pictures seen in all stages. */
  samples: number;
  /** Loss of every step, stages end to end. */
  losses: number[];
  /** Of the last stage. */
  family: FractalFamily;
}

/** The paper's recipe (arXiv 2408.00677 and its code), in steps instead of epochs. */
const PAPER = {
  steps: 240_000,
  batchSize: 256,
  lr: 5e-4,
  warmupLr: 5e-7,
  minLr: 5e-6,
  warmupSteps: 15,
  labelSmoothing: 0.1,
  mixup: true,
  dropPath: 0.1,
  optimizer: { type: 'adamw', weightDecay: 0.05 },
  augment: { scale: [0.08, 1], flip: 0.5, flipVertical: 0.5, randAugment: true, randomErasing: true },
} as const;

/**
 * Pre-trains a vision transformer on one fractal: L perturbed copies of a single iterated function system, told apart by
 * cross-entropy ("Scaling Backwards", ECCV 2024, arXiv 2408.00677). Defaults are the paper's code's; they take GPU-days.
 *
 * @example
 * const { backbone } = await onePFrac({ model: 'vit_mini_patch4_32', count: 64, size: 64, points: 6000, steps: 2000, batchSize: 64 });
 */
export function onePFrac(options: OnePFracOptions = {}): Job<OnePFracEvent, OnePFracResult> {
  const { model = 'vit_tiny_patch16_224', init, stages = [{}], signal, ...common } = checkOptions(schema, options, 'onePFrac');
  return new Job<OnePFracEvent, OnePFracResult>(
    async (context) => {
      let backbone: Classifier | undefined;
      let family: FractalFamily | undefined;
      let samples = 0;
      const losses: number[] = [];
      try {
        for (const [stage, overrides] of stages.entries()) {
          const merged = defined({ ...PAPER, ...defined(common), ...defined(overrides) }) as Stage;
          const before: Classifier | undefined = backbone;
          const done = await runStage(stage, merged, { model, init: before ?? init }, context.signal, context.emit);
          before?.dispose();
          ({ backbone, family } = done);
          samples += backbone.training?.samples ?? 0;
          losses.push(...(backbone.training?.losses ?? []));
        }
      } catch (error) {
        backbone?.dispose();
        throw error;
      }
      return { backbone: backbone as Classifier, family: family as FractalFamily, samples, losses };
    },
    { signal },
  );
}

/** The options of these names. */
const those = (options: Stage, names: object): Partial<Stage> => Object.fromEntries(Object.entries(options).filter(([name]) => name in names));

/** What is left for training. */
const withoutFractal = (options: Stage): Omit<Stage, keyof typeof fractalFields> => Object.fromEntries(Object.entries(options).filter(([name]) => !(name in fractalFields)));

async function runStage(
  stage: number,
  options: Stage,
  start: { model: (typeof MODEL_NAMES)[number]; init: string | Classifier | undefined },
  signal: AbortSignal,
  emit: (event: OnePFracEvent) => void,
): Promise<{ backbone: Classifier; family: FractalFamily }> {
  const { storage, freshDelta, base, fractalSeed = options.seed, threads } = options;
  const run = { ...defined({ precision: options.renderPrecision, threads }), signal };
  const begin = performance.now();
  const family = await follow(fractals.family({ ...those(options, systemFields), ...defined({ base, seed: fractalSeed }), ...run } as FamilyOptions), () => {});
  const pictures = family.copies.map((ifs, i) => [{ ifs, textureSeed: family.textureSeeds[i] as bigint, flip: 'none' as const }]);
  return withFractalSet(pictures, { ...those(options, pictureFields), storage, freshDelta, ...run } as FractalSetOptions, async (set) => {
    emit({ type: 'fractals', stage, family, milliseconds: performance.now() - begin });
    const names = family.copies.map((_, i) => `copy-${i}`);
    const expected = Math.log(names.length);
    let recent = 0;
    const onEvent = (event: TrainEvent): void => {
      emit({ ...event, stage });
      if (event.type !== 'step') return;
      recent += event.loss / COLLAPSE_CHECK_STEPS;
      if (event.step % COLLAPSE_CHECK_STEPS !== 0) return;
      if (event.step === COLLAPSE_CHECK_STEPS && recent > expected - COLLAPSE_MARGIN) emit({ type: 'collapse', stage, step: event.step, loss: recent, expected });
      recent = 0;
    };
    const backbone = await trainOnImageSet(set, names, { ...withoutFractal(options), ...start }, { signal, emit: onEvent });
    return { backbone, family };
  });
}
