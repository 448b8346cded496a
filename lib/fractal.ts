import { z } from 'zod';
import { ArgumentError } from './errors.js';
import type { Image } from './image.js';
import { Job, runNative } from './job.js';
import { native, type ImageProgress } from './native.js';
import { contourClasses, contours } from './contours.js';
import { edges, imageCopies } from './image-copies.js';
import { loadCsv, saveCsv } from './fractal-csv.js';
import { instances, ofdb, search } from './fractal-db.js';
import { loadContours, loadFamily, loadSystems, saveContours, saveFamily, saveSystems } from './fractal-file.js';
import { picture } from './fractal-picture.js';
import { nativeJob, runFields } from './fractal-run.js';
import { checkIfs, FLIPS, ifsSchema, type FractalFamily, type Ifs } from './ifs.js';
import { checkOptions, defined, positiveInt, seed, share } from './options.js';
import { into, row, type Tensor } from './tensor.js';
import { threads } from './threads.js';

const sampleFields = {
  /** Affine maps, N. 2 to 8, default 2. */
  maps: z.int().min(2).max(8).optional(),
  /**
   * Sum over the maps of s1 + 2 s2 (singular values): smaller is sparser. Inside (0, 3 N), default 3.5. `andersonFarrell`: U((5 + N) / 2, (6 + N) / 2),
   * as their released code draws it.
   */
  sigmaFactor: z.union([z.number(), z.literal('andersonFarrell')]).optional(),
  /** The target is drawn uniformly from sigmaFactor ∓ halfWidth. Default 0.1; not for `andersonFarrell`. */
  halfWidth: share.optional(),
};

const perturbFields = {
  /** `multiplicative` (the released code, default): factors U(1 − delta, 1 + delta); `additive` (the paper): U(−delta/2, delta/2). */
  perturbation: z.enum(['multiplicative', 'additive']).optional(),
  /** Width of the perturbation. 0 to 2, default 0.1. */
  delta: z.number().min(0).max(2).optional(),
  /** Chances of the maps: of the `base` (default) or from the `perturbed` determinants. */
  probabilities: z.enum(['base', 'perturbed']).optional(),
};

/** How a picture is drawn. */
export const renderFields = {
  /** Pixels, both sides. 16 to 8192, default 512. */
  size: z.int().min(16).max(8192).optional(),
  /** Empty pixels at each side. Default 6. */
  padding: z.int().min(0).optional(),
  /** Points of the orbit, the start included. Default 100,000. */
  points: positiveInt.max(1_000_000_000).optional(),
  /** Seed of the frozen sequence of maps. Default 100. */
  indexSeed: z.int().min(0).max(0xffffffff).optional(),
  /** Single pixels or 3×3 patches (default). */
  draw: z.enum(['point', 'patch']).optional(),
  /** Patches as one coin per covered pixel (`iid`, default, order-free) or pasted over each other (`paste`, the released code). */
  texture: z.enum(['iid', 'paste']).optional(),
  /** Random patches (default) or solid ones. */
  mask: z.enum(['random', 'fill']).optional(),
  /** `fast` (default): float32, vector code; `exact`: float64, one point after the other. */
  precision: z.enum(['fast', 'exact']).optional(),
  /** Begin at the `origin` (default) or at the first map's fixed point. */
  start: z.enum(['origin', 'fixedPoint']).optional(),
  /** Fill the frame on both axes (`stretch`, default) or `keep` the proportions. */
  aspect: z.enum(['stretch', 'keep']).optional(),
  /** Gray level of lit pixels. 1 to 255, default 127. */
  value: z.int().min(1).max(255).optional(),
};

/** How a system and its copies are drawn. */
export const familyFields = {
  ...sampleFields,
  ...perturbFields,
  ...renderFields,
  /** Perturbed copies, L. Default 1000. */
  count: positiveInt.max(1_000_000).optional(),
  /** The share of lit pixels must exceed this. Default 0.05. */
  fillThreshold: share.optional(),
  /** Perturbed copies tried on a base system. Default 16. */
  probes: positiveInt.max(1000).optional(),
  /** The share of them that must pass, or the base is replaced. Default 0.25. */
  probeShare: share.optional(),
  /** Base systems drawn before `ERR_DEGENERATE_FRACTAL`. Default 200. */
  maxBaseTries: positiveInt.max(100_000).optional(),
  /** Perturbations drawn for one copy before `ERR_DEGENERATE_FRACTAL`. Default 50. */
  maxImageTries: positiveInt.max(100_000).optional(),
  /** Everything drawn follows from it. Default 0. */
  seed: seed.optional(),
};

const sampleSchema = z.strictObject({ ...sampleFields, seed: seed.optional() });
const perturbSchema = z.strictObject({ ...perturbFields, seed: seed.optional() });
const renderSchema = z.strictObject({
  ...renderFields,
  ...runFields,
  /**
   * FractalDB's colours in place of `value`: 128 hues by the order of the points, later ones over earlier, with patches pasted one after the other. Pictures are [count, size, size, 3] then, drawn as
   * `precision: 'exact'` and `texture: 'paste'` do. Default false.
   */
  colour: z.boolean().optional(),
  /** Decide the patches, one for each system. Default: 0, 1, 2, ... */
  textureSeeds: z.array(z.bigint().min(0n)).optional(),
  /** Mirror each picture, one for each system; `horizontal` exchanges left and right. Default: as drawn. */
  flips: z.array(z.enum(FLIPS)).optional(),
  /** Where the pictures go, as many bytes as they have: memory to use again in a loop. It is the result's `data`. Default: new memory. */
  out: z.instanceof(Uint8Array).optional(),
  /** `cuda` needs an addon compiled with CUDA and a GPU (else `ERR_NO_CUDA`), and the defaults of `precision` and `texture`. `auto`: the GPU where that is so, else the CPU. Default `cpu`. */
  device: z.enum(['auto', 'cpu', 'cuda']).optional(),
});
const familySchema = z.strictObject({ ...familyFields, ...runFields, base: ifsSchema.optional() });

export type SampleIfsOptions = z.input<typeof sampleSchema>;
export type PerturbIfsOptions = z.input<typeof perturbSchema>;
export type RenderOptions = z.input<typeof renderSchema>;
export type FamilyOptions = z.input<typeof familySchema>;

/** The range that the sigma-factor is drawn from, in numbers. */
function sigmaRange({ maps = 2, sigmaFactor, halfWidth }: Pick<SampleIfsOptions, 'maps' | 'sigmaFactor' | 'halfWidth'>): { sigmaFactor: number | undefined; halfWidth: number | undefined } {
  if (sigmaFactor !== 'andersonFarrell') return { sigmaFactor, halfWidth };
  if (halfWidth !== undefined) throw new ArgumentError(`Expected no halfWidth beside sigmaFactor 'andersonFarrell', which has its own range, received ${halfWidth}`);
  return { sigmaFactor: (11 + 2 * maps) / 4, halfWidth: 0.25 };
}

/** Draws a system with a given sigma-factor (Anderson & Farrell, WACV 2022). */
function sample(options: SampleIfsOptions = {}): Ifs {
  const checked = checkOptions(sampleSchema, options, 'fractals.sample');
  return native().sampleIfs(defined({ ...checked, ...sigmaRange(checked) }));
}

/** Sigma-factor and singular values (larger first) of each map. */
function describe(ifs: Ifs): { sigmaFactor: number; singularValues: [number, number][] } {
  return native().describeIfs(checkIfs(ifs));
}

/** A copy whose 6 N numbers are each perturbed. */
function perturb(ifs: Ifs, options: PerturbIfsOptions = {}): Ifs {
  return native().perturbIfs(checkIfs(ifs), defined(checkOptions(perturbSchema, options, 'fractals.perturb')));
}

/** A system of these maps, each with a chance in proportion to |det|. */
function weigh(affine: Ifs['affine']): Ifs {
  return checkIfs({ affine: [...affine], weights: native().weighIfs(affine) });
}

/**
 * Draws a base system and `count` perturbed copies that are full enough to be seen. With `base`, copies of that one.
 * Throws `ERR_DEGENERATE_FRACTAL` when the caps on tries are reached.
 */
function family(options: FamilyOptions = {}): Job<ImageProgress, FractalFamily> {
  const { signal, ...checked } = checkOptions(familySchema, options, 'fractals.family');
  const call = defined({ ...checked, ...sigmaRange(checked), threads: threads(checked.threads) });
  return nativeJob<ImageProgress, FractalFamily>(signal, (listener) => native().makeFamily(call, listener));
}

/** Renders systems by the chaos game: gray pictures, uint8 [count, size, size], 0 and `value`; or, with `colour`, [count, size, size, 3]. */
function render(systems: readonly Ifs[], options: RenderOptions = {}): Job<ImageProgress, Tensor<'uint8'>> {
  const { signal, ...checked } = checkOptions(renderSchema, options, 'fractals.render');
  const { colour = false, precision = 'exact', texture = 'paste', value } = checked;
  if (colour && (precision !== 'exact' || texture !== 'paste' || value !== undefined)) throw new ArgumentError("Expected neither precision 'fast', texture 'iid' nor a value with colour");
  const call = defined({
    ...checked,
    systems: systems.map(checkIfs),
    textureSeeds: checked.textureSeeds ?? systems.map((_, i) => BigInt(i)),
    threads: threads(checked.threads),
  });
  return new Job<ImageProgress, Tensor<'uint8'>>(async (context) => into(checked.out, await runNative((listener) => native().renderFractals(call, listener), context.signal, context.emit)), { signal });
}

/** The frozen sequence of map indices of the chaos game: `points - 1` bytes. */
function sequence(options: { weights: readonly number[]; points: number; indexSeed?: number }): Uint8Array {
  return native().mapSequence(defined(options)).data;
}

/** Picture `i` of a rendered tensor. */
function image(images: Tensor<'uint8'>, i: number): Image {
  const [, height = 0, width = 0, channels = 1] = images.shape;
  return { data: row(images, i), width, height, channels };
}

/** Fractal systems and pictures by formula: draw, search, perturb, render, save and load. */
export const fractals = {
  sample,
  describe,
  perturb,
  weigh,
  family,
  render,
  sequence,
  image,
  search,
  instances,
  ofdb,
  contourClasses,
  contours,
  edges,
  imageCopies,
  picture,
  save: saveFamily,
  load: loadFamily,
  saveSystems,
  loadSystems,
  saveContours,
  loadContours,
  saveCsv,
  loadCsv,
};
