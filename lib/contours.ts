import { z } from 'zod';
import { nativeJob, runFields } from './fractal-run.js';
import { contourClassSchema, type ContourClass } from './ifs.js';
import type { Job } from './job.js';
import { native, type ImageProgress } from './native.js';
import { checkOptions, defined, positiveInt, seed } from './options.js';
import type { Tensor } from './tensor.js';
import { threads } from './threads.js';

const classesSchema = z.strictObject({
  set: contourClassSchema.shape.set,
  /** Categories. Default 1000. */
  count: positiveInt.max(1_000_000).optional(),
  /** Place of the first one: a set can be drawn in parts. Default 0. */
  first: seed.optional(),
  /** Everything drawn follows from it. Default 0. */
  seed: seed.optional(),
});

const contoursSchema = z.strictObject({
  /** Pictures per category. Default 1. */
  instances: positiveInt.max(1_000_000).optional(),
  /** Place of the first one in its category. Default 0. */
  firstInstance: seed.optional(),
  /** Pixels, both sides; the contours grow with them. 16 to 8192, default 512. */
  size: z.int().min(16).max(8192).optional(),
  ...runFields,
});

export type ContourClassesOptions = z.input<typeof classesSchema>;
export type ContoursOptions = z.input<typeof contoursSchema>;

/**
 * Draws the categories of RCDB (radial contours, Kataoka et al., CVPR 2022) or VisualAtom (Takashima et al., CVPR 2023). A category depends on its
 * place and the seed alone.
 */
export function contourClasses(options: ContourClassesOptions): ContourClass[] {
  return native().drawContourClasses(defined(checkOptions(classesSchema, options, 'fractals.contourClasses')));
}

/**
 * Draws pictures of such categories: gray, uint8 [classes × instances, size, size], lines of one pixel without anti-aliasing, RCDB on white and
 * VisualAtom on black.
 *
 * @example
 * const images = await fractals.contours(fractals.contourClasses({ set: 'visualatom', count: 10 }), { instances: 4 });
 */
export function contours(classes: readonly ContourClass[], options: ContoursOptions = {}): Job<ImageProgress, Tensor<'uint8'>> {
  const { signal, ...checked } = checkOptions(contoursSchema, options, 'fractals.contours');
  const call = defined({ ...checked, classes: classes.map((one) => checkOptions(contourClassSchema, one, 'a category of contours')), threads: threads(checked.threads) });
  return nativeJob<ImageProgress, Tensor<'uint8'>>(signal, (listener) => native().drawContours(call, listener));
}
