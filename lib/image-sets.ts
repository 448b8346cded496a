import type { Dataset } from './data/dataset.js';
import { pixelDigest, PixelIndex, type Digested } from './data/overlap.js';
import { ArgumentError, SeedbedError } from './errors.js';
import type { Image } from './image.js';
import { native, type ImageSetHandle } from './native.js';

/** The dataset's labels as indices into `classes`, matched by name. */
export function labelsFor(data: Dataset, classes: readonly string[]): number[] {
  return data.withClasses(classes).labels;
}

const MOST_PIXELS = 2 ** 21;

/**
 * A picture as networks are shown it: a larger one than 2 million pixels is held smaller, so that photographs of today's cameras do not fill the memory; of such a one the same comes out
 * again. Networks read a few hundred pixels a side.
 */
export function heldImage(image: Image): Image {
  const share = Math.sqrt(MOST_PIXELS / (image.width * image.height));
  const side = (length: number): number => Math.max(1, Math.floor(length * share));
  return share >= 1 ? image : native().resizeImage({ image, width: side(image.width), height: side(image.height), filter: 'bicubic' });
}

/** All pictures of a dataset as networks are shown them. */
export const heldImages = (data: Dataset): Promise<Image[]> => data.load(({ image }) => heldImage(image));

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
  const sets: ImageSetHandle[] = [];
  const learnt = new PixelIndex();
  const setOf = async (data: Dataset, look: ((picture: Digested) => void) | undefined): Promise<ImageSetHandle> => {
    const labels = labelsFor(data, train.classes);
    const pictures = await data.load(({ key, image }) => ({ image: heldImage(image), ...(look && { seen: { key, digest: pixelDigest(image) } }) }));
    for (const { seen } of pictures) if (seen) look?.(seen);
    const set = native().createImageSet({ images: pictures.map(({ image }) => image), labels, classes: train.classes.length });
    sets.push(set);
    return set;
  };
  const remember = validate && ((picture: Digested): void => learnt.add(picture));
  try {
    return await use({
      train: await setOf(train, remember),
      synthetic: synthetic && (await setOf(synthetic, remember)),
      validation: validate && (await setOf(validate, (picture) => learnt.refuse(picture, 'train and validate'))),
    });
  } finally {
    for (const set of sets) native().dispose(set);
  }
}
