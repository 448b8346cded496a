import { z } from 'zod';
import { Classifier, trainOnImageSet } from '../classifier.js';
import { fractalPictureSchema, renderSchema, storageField, withFractalSet } from '../fractal-pictures.js';
import { Job } from '../job.js';
import { MODEL_NAMES, modelSchema } from '../model-options.js';
import type { TrainEvent } from '../native.js';
import { checkOptions, defined } from '../options.js';
import { trainFields } from '../train-options.js';

const schema = z.strictObject({
  /** The pictures of each class, at least two classes. */
  classes: z.array(z.array(fractalPictureSchema).min(1)).min(2),
  ...storageField,
  /** How they are drawn. */
  render: renderSchema.optional(),
  /** Architecture by name or numbers. Default: that of `init`, else `vit_tiny_patch16_224`. */
  model: z.union([z.enum(MODEL_NAMES), modelSchema]).optional(),
  /** A backbone to go on from. */
  init: z.union([z.string().min(1), z.instanceof(Classifier)]).optional(),
  ...trainFields,
});

export type PretrainOnFractalsOptions = z.input<typeof schema>;

/**
 * Pre-trains a classifier to tell fractals apart, drawn without files. FractalDB (arXiv 2101.08515): a class for each system, its `instances` the pictures;
 * OFDB (arXiv 2308.00758): one picture each. For one system and its perturbed copies see `onePFrac`, which also draws them.
 *
 * @example
 * const { systems } = await fractals.search({ count: 100 });
 * const classes = systems.map((system) => fractals.instances(system, { patterns: 1 }));
 * using backbone = await pretrainOnFractals({ classes, storage: 'fresh', model: 'vit_tiny_patch16_224', steps: 50_000, batchSize: 64 });
 */
export function pretrainOnFractals(options: PretrainOnFractalsOptions): Job<TrainEvent, Classifier> {
  const { classes, storage, freshDelta, render, model, init, ...train } = checkOptions(schema, options, 'pretrainOnFractals');
  const start = model === undefined && init === undefined ? { model: 'vit_tiny_patch16_224' as const } : defined({ model, init });
  const names = classes.map((_, i) => `fractal-${i}`);
  return new Job<TrainEvent, Classifier>(
    (context) => withFractalSet(classes, { ...render, storage, freshDelta, threads: train.threads, signal: context.signal }, (set) => trainOnImageSet(set, names, { ...train, ...start }, context)),
    train,
  );
}
