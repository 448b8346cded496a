import { z } from 'zod';
import { Dataset } from './data/dataset.js';
import { nativeJob } from './fractal-run.js';
import { squared, type Image } from './image.js';
import { Job } from './job.js';
import { native } from './native.js';
import { abortSignal, checkOptions, defined, positiveInt, seed, share } from './options.js';

const edgesSchema = z.strictObject({
  /** Of the Gaussian before, pixels. Default 1. */
  sigma: z.number().positive().max(16).optional(),
  /** Gradient, of brightness in [0, 1], down to which an edge goes on. Default 0.1. */
  low: z.number().min(0).max(8).optional(),
  /** Gradient that some point of an edge must reach. Default 0.2. */
  high: z.number().min(0).max(8).optional(),
});

const copiesSchema = z.strictObject({
  /** Copies, each a class. Default 1000. */
  count: positiveInt.max(1_000_000).default(1000),
  /** Pixels, both sides: the square in the middle is brought to it. 16 to 4096, default 256. */
  size: z.int().min(16).max(4096).default(256),
  /** How far copies differ, in [0, 1]. Default 0.4. */
  delta: share.optional(),
  /** Copy the edges in place of the picture; `true` for `edges` by its defaults. Default false. */
  edges: z.union([z.boolean(), edgesSchema]).default(false),
  /** The copies follow from it and their numbers. Default 0. */
  seed: seed.optional(),
  signal: abortSignal.optional(),
});

export type EdgesOptions = z.input<typeof edgesSchema>;
export type ImageCopiesOptions = z.input<typeof copiesSchema>;

/** Edges by Canny (1986), gray: 255 on them, else 0. As `skimage.feature.canny(mode='nearest')` of the gray picture. */
export function edges(image: Image, options: EdgesOptions = {}): Job<never, Image> {
  const call = { image, ...defined(checkOptions(edgesSchema, options, 'fractals.edges')) };
  return nativeJob<never, Image>(undefined, (listener) => native().cannyEdges(call, listener));
}

/**
 * Classes from one picture in place of a fractal, as in the study of 1p-frac (ECCV 2024, arXiv 2408.00677) whose parameters were not published; these are ours. Copy i shows the picture, or its
 * edges, under the affine map I + U(-delta/2, delta/2) in each of the four numbers, about the middle, moved by U(-delta/2, delta/2) of half a side; bicubic, black beyond it. It is drawn whenever it
 * is read.
 *
 * @example
 * const train = await fractals.imageCopies(await readImage('street.jpg'), { edges: true });
 * const backbone = await trainClassifier({ model: 'vit_tiny_patch16_224', train, steps: 50_000 });
 */
export function imageCopies(image: Image, options: ImageCopiesOptions = {}): Job<never, Dataset> {
  const { edges: asEdges, size, count, signal, ...rest } = checkOptions(copiesSchema, options, 'fractals.imageCopies');
  return new Job<never, Dataset>(
    async () => {
      const whole = squared(image);
      const scaled = whole.width === size ? whole : native().resizeImage({ image: whole, width: size, height: size, filter: 'bicubic' });
      const source = asEdges === false ? scaled : await edges(scaled, asEdges === true ? {} : asEdges);
      const copy = async (i: number): Promise<Image> => nativeJob<never, Image>(undefined, (listener) => native().drawImageCopy({ image: source, copy: i, ...defined(rest) }, listener));
      const classes = Array.from({ length: count }, (_, i) => `copy-${i}`);
      return new Dataset({ name: 'copies of a picture', classes, entries: classes.map((key, i) => ({ key, label: i, read: () => copy(i) })), role: 'train' });
    },
    { signal },
  );
}
