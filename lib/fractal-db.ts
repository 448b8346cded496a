import { z } from 'zod';
import { ArgumentError } from './errors.js';
import { nativeJob, runFields } from './fractal-run.js';
import { checkIfs, FLIPS, type Flip, type FractalInstance, type FractalSearch, type Ifs } from './ifs.js';
import type { Job } from './job.js';
import { native, type SystemProgress } from './native.js';
import { checkOptions, defined, positiveInt, seed, share } from './options.js';
import { threads } from './threads.js';

const searchSchema = z.strictObject({
  /** Systems to find: categories. Default 1000. */
  count: positiveInt.max(1_000_000).optional(),
  /** The number of affine maps N is drawn uniformly from here ... 1 to 16, default 2. */
  minMaps: z.int().min(1).max(16).optional(),
  /** ... to here. Default 7. */
  maxMaps: z.int().min(1).max(16).optional(),
  /** The share of lit pixels must reach this. Default 0.2. */
  fillThreshold: share.optional(),
  /** Candidates drawn in all before `ERR_DEGENERATE_FRACTAL`. Default: 1000 for each system to find; about 1 in 30 is accepted. */
  maxTries: positiveInt.max(1_000_000_000).optional(),
  /** Pixels, both sides, of the picture that decides. 16 to 8192, default 512. */
  size: z.int().min(16).max(8192).optional(),
  /** Empty pixels at each side. Default 6. */
  padding: z.int().min(0).optional(),
  /** Points of the orbit. Default 100,000. */
  points: positiveInt.max(1_000_000_000).optional(),
  /** Seed of the sequence that the maps are drawn by. Default 100. */
  indexSeed: z.int().min(0).max(0xffffffff).optional(),
  /** `fast` (default): float32, vector code; `exact`: float64. */
  precision: z.enum(['fast', 'exact']).optional(),
  /** Everything drawn follows from it. Default 0. */
  seed: seed.optional(),
  ...runFields,
});

const weightFields = {
  /** The weights are 1 ∓ width and 1 ∓ 2 width. 0 to 1, default 0.4: 0.2, 0.6, 1.4, 1.8. */
  width: share.optional(),
  /** Decides the patches. Default 0. */
  seed: seed.optional(),
};

const instancesSchema = z.strictObject({
  ...weightFields,
  /** Random patches per weight. 1 to 1000, default 10. */
  patterns: positiveInt.max(1000).optional(),
  /** Default all four. */
  flips: z.array(z.enum(FLIPS)).min(1).optional(),
});

const ofdbSchema = z.strictObject({
  ...weightFields,
  /** As the released code: it uses the first row of its file of weights, in which a is multiplied by 1 − 2 width. Default false: the system itself. */
  faithful: z.boolean().optional(),
});

export type FractalSearchOptions = z.input<typeof searchSchema>;
export type FractalInstancesOptions = z.input<typeof instancesSchema>;
export type OfdbOptions = z.input<typeof ofdbSchema>;

/** How OFDB's code draws its pictures; for `fractals.render`. */
export const OFDB_RENDER = { size: 362, points: 200_000 } as const;

/** Row of the weights in which a is multiplied by 1 − 2 width. */
const FIRST_WEIGHT_ROW = 1;

/**
 * The category search of FractalDB (Kataoka et al., ACCV 2020): all numbers U(−1, 1), chances by |det|, kept when the points fill
 * enough of the picture. A longer search begins with the shorter one. Throws `ERR_DEGENERATE_FRACTAL` after `maxTries`.
 *
 * @example
 * const { systems } = await fractals.search({ count: 10, seed: 7 });
 */
export function search(options: FractalSearchOptions = {}): Job<SystemProgress, FractalSearch> {
  const { signal, ...checked } = checkOptions(searchSchema, options, 'fractals.search');
  const { minMaps = 2, maxMaps = 7 } = checked;
  if (minMaps > maxMaps) throw new ArgumentError(`Expected minMaps of at most maxMaps (${maxMaps}), received ${minMaps}`);
  const call = defined({ ...checked, threads: threads(checked.threads) });
  return nativeJob<SystemProgress, FractalSearch>(signal, (listener) => native().searchSystems(call, listener));
}

/**
 * The pictures of a FractalDB category: 25 weights × patterns × flips, 1000 by default, in this order. The chances of the maps stay
 * those of the system.
 *
 * @example
 * const category = fractals.instances(ifs);
 * const images = await fractals.render(category.map((one) => one.ifs), {
 *   textureSeeds: category.map((one) => one.textureSeed),
 *   flips: category.map((one) => one.flip),
 * });
 */
export function instances(ifs: Ifs, options: FractalInstancesOptions = {}): FractalInstance[] {
  const { flips = FLIPS, ...weights } = checkOptions(instancesSchema, options, 'fractals.instances');
  const { systems, textureSeeds } = native().fractalInstances(checkIfs(ifs), defined(weights));
  return systems.flatMap((copy, row) => textureSeeds.flatMap((textureSeed, pattern) => flips.map((flip: Flip) => ({ ifs: copy, textureSeed, flip, row, pattern }))));
}

/**
 * OFDB-2D (Nakamura et al., ICCV 2023): one picture per category of FractalDB.
 *
 * @example
 * const set = fractals.ofdb(systems);
 * const images = await fractals.render(set.map((one) => one.ifs), { ...OFDB_RENDER, textureSeeds: set.map((one) => one.textureSeed) });
 */
export function ofdb(systems: readonly Ifs[], options: OfdbOptions = {}): FractalInstance[] {
  const { faithful = false, ...weights } = checkOptions(ofdbSchema, options, 'fractals.ofdb');
  const row = faithful ? FIRST_WEIGHT_ROW : 0;
  const [first] = systems;
  if (first === undefined) throw new ArgumentError('Expected at least one system for fractals.ofdb, received none');
  const { textureSeeds } = native().fractalInstances(checkIfs(first), defined({ ...weights, patterns: systems.length }));
  return systems.map((system, i) => {
    const copies = native().fractalInstances(checkIfs(system), defined({ ...weights, patterns: 1 })).systems;
    return { ifs: copies[row] as Ifs, textureSeed: textureSeeds[i] as bigint, flip: 'none', row, pattern: i };
  });
}
