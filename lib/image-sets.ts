import type { Dataset, Sample } from './data/dataset.js';
import { checkNoOverlap } from './data/overlap.js';
import { ArgumentError, SeedbedError } from './errors.js';
import { native, type ImageSetHandle } from './native.js';

/** The dataset's labels as indices into `classes`, matched by name. */
export function labelsFor(data: Dataset, classes: readonly string[]): number[] {
  return data.withClasses(classes).labels;
}

/** What a classifier learns from. */
export interface TrainingParts {
  train: Dataset;
  /** Generated pictures. */
  synthetic?: Dataset | undefined;
  validate?: Dataset | undefined;
}

/** Nothing is learnt from or chosen on test data. */
export function checkParts({ train, synthetic, validate }: TrainingParts, realWeight: number | undefined): void {
  for (const [name, data] of Object.entries({ train, validate })) {
    if (data?.role === 'test') throw new SeedbedError('ERR_DATA_LEAK', `Expected training or validation data for ${name}, received the test part of ${data.name}`);
    if (data?.length === 0) throw new SeedbedError('ERR_DATASET', `Expected at least one picture for ${name}, received none`);
  }
  if (train.classes.length < 2) throw new SeedbedError('ERR_DATASET', `Expected at least 2 classes for train, received ${train.classes.length}`);
  if (synthetic?.role === 'test') throw new SeedbedError('ERR_DATA_LEAK', `Expected generated pictures for synthetic, received the test part of ${synthetic.name}`);
  if (realWeight !== undefined && synthetic === undefined) throw new ArgumentError('Expected synthetic pictures with realWeight');
}

/** The parts in native memory while `use` runs. Throws `ERR_DATA_LEAK` for a picture that is learnt from and chosen on. */
export async function withImageSets<Result>(
  { train, synthetic, validate }: TrainingParts,
  use: (sets: { train: ImageSetHandle; synthetic?: ImageSetHandle | undefined; validation?: ImageSetHandle | undefined }) => Promise<Result>,
): Promise<Result> {
  const samples = { train: await train.load(), synthetic: await synthetic?.load(), validate: await validate?.load() };
  if (samples.validate !== undefined) checkNoOverlap([...samples.train, ...(samples.synthetic ?? [])], samples.validate, 'train and validate');
  const sets: ImageSetHandle[] = [];
  const setOf = (data: Dataset | undefined, own: readonly Sample[] | undefined): ImageSetHandle | undefined => {
    if (data === undefined || own === undefined) return undefined;
    const set = native().createImageSet({ images: own.map(({ image }) => image), labels: labelsFor(data, train.classes), classes: train.classes.length });
    sets.push(set);
    return set;
  };
  try {
    return await use({ train: setOf(train, samples.train) as ImageSetHandle, synthetic: setOf(synthetic, samples.synthetic), validation: setOf(validate, samples.validate) });
  } finally {
    for (const set of sets) native().dispose(set);
  }
}
