import { z } from 'zod';
import type { Image } from './image.js';
import { Job, runNative } from './job.js';
import { native } from './native.js';
import { abortSignal, checkOptions, defined, positiveInt, seed, share, three } from './options.js';
import { into, type Tensor } from './tensor.js';
import { threads } from './threads.js';

const range = z.tuple([z.number(), z.number()]).readonly();

const randAugmentSchema = z.strictObject({
  /** Operations per picture. Default 2. */
  ops: z.int().min(0).max(15).optional(),
  /** 0 to 10, default 9. */
  magnitude: z.number().min(0).max(10).optional(),
  /** Spread of the magnitude. Default 0.5. */
  magnitudeStd: z.number().min(0).optional(),
  /** Chance of each operation. Default 0.5. */
  probability: share.optional(),
  /** Gray level of what geometry uncovers. Default 128. */
  fill: z.int().min(0).max(255).optional(),
});

const randomErasingSchema = z.strictObject({
  probability: share.optional(),
  minArea: share.optional(),
  maxArea: share.optional(),
  minAspect: z.number().min(0.01).max(1).optional(),
});

export const augmentSchema = z.strictObject({
  /** Area of the random crop, share of the picture. Default [0.08, 1]. */
  scale: range.optional(),
  /** Width over height of the crop. Default [3/4, 4/3]. */
  ratio: range.optional(),
  /** Chance of a left-right flip. Default 0.5. */
  flip: share.optional(),
  /** Chance of a top-bottom flip. Default 0. */
  flipVertical: share.optional(),
  /** Chance that a gray picture gets two random colours, one for black and one for white. Default 0. */
  colourise: share.optional(),
  /** timm's `rand-m9-mstd0.5-inc1`, or its numbers. Default off. */
  randAugment: z.union([z.boolean(), randAugmentSchema]).optional(),
  /** Noise in a random box (Zhong et al. 2017). Default off. */
  randomErasing: z.union([z.boolean(), randomErasingSchema]).optional(),
});

/** A part that is on, with its numbers or the defaults, or off, as the addon reads it. */
export const switched = (value: boolean | object | undefined): object | undefined => (value === true ? {} : value === false ? undefined : value && defined(value as Record<string, unknown>));

/** Options as the addon reads them: unions and pairs taken apart. */
export function nativeAugment({ scale, ratio, randAugment, randomErasing, ...flips }: z.output<typeof augmentSchema>): Record<string, unknown> {
  return defined({ ...flips, minScale: scale?.[0], maxScale: scale?.[1], minRatio: ratio?.[0], maxRatio: ratio?.[1], randAugment: switched(randAugment), randomErasing: switched(randomErasing) });
}

const schema = z.strictObject({
  /** Side of the views, pixels. Default 224. */
  size: positiveInt.max(16384).default(224),
  augment: augmentSchema.default({}),
  /** Per channel, of pixels in [0, 1]. Default 0.5. */
  mean: three.optional(),
  std: three.optional(),
  /** View i follows from it and from i alone. Default 0. */
  seed: seed.default(0),
  /** Where the views go, 3 size² numbers each: memory to use again in a loop. It is the result's `data`. Default: new memory. */
  out: z.instanceof(Float32Array).optional(),
  /** Default: all cores. */
  threads: positiveInt.max(1024).optional(),
  signal: abortSignal.optional(),
});

export type AugmentImagesOptions = z.input<typeof schema>;

/**
 * Random views of pictures as timm's training chain makes them: random resized crop (bicubic), flips, RandAugment, normalisation, random erasing. Gray pictures become three
 * planes. Result: [pictures, 3, size, size]; the same bytes for any number of threads. What training shows its network; for training loops of one's own. Pictures are read where they lie: neither change nor
 * transfer their bytes, or those of `out`, until it is done.
 * `const pixels = await augmentImages(images, { size: 224, augment: { randAugment: true } })`. Throws `ERR_INVALID_ARGUMENT`.
 */
export function augmentImages(images: readonly Image[], options: AugmentImagesOptions = {}): Job<never, Tensor<'float32'>> {
  const { augment, out, threads: requested, signal: _, ...rest } = checkOptions(schema, options, 'augmentImages');
  const call = defined({ ...rest, images, out, augment: nativeAugment(augment), threads: threads(requested) });
  return new Job<never, Tensor<'float32'>>(async ({ signal }) => into(out, await runNative((listener) => native().augmentImages(call, listener), signal)), options);
}
