import { z } from 'zod';
import { checkOptions } from './options.js';

/** `[a, b, e]` or `[c, d, f]` of an affine map. */
export type AffineRow = readonly [number, number, number];

/** (x, y) → (a x + b y + e, c x + d y + f). */
export type AffineMap = readonly [AffineRow, AffineRow];

/** An iterated function system: N affine maps (1 to 16) and the chance of each, which sum to 1. */
export type Ifs = { readonly affine: readonly AffineMap[]; readonly weights: readonly number[] };

const row = z.tuple([z.number(), z.number(), z.number()]).readonly();

export const ifsSchema = z.strictObject({
  affine: z.array(z.tuple([row, row]).readonly()).min(1).max(16).readonly(),
  weights: z.array(z.number().min(0).max(1)).min(1).max(16).readonly(),
}) satisfies z.ZodType<Ifs>;

export function checkIfs(ifs: Ifs): Ifs {
  return checkOptions(ifsSchema, ifs, 'an iterated function system');
}

/** One base system and L accepted perturbations of it: the 1p-frac data set as numbers. */
export interface FractalFamily {
  base: Ifs;
  copies: readonly Ifs[];
  /** Decides the patches of each copy. */
  textureSeeds: readonly bigint[];
  /** Base systems drawn, the accepted one included. */
  baseTries: number;
  /** Perturbations drawn for all copies. */
  imageTries: number;
}

/** Categories of FractalDB. */
export interface FractalSystems {
  systems: readonly Ifs[];
  /** Share of lit pixels of each, where a search found them. */
  fills?: readonly number[] | undefined;
  /** Candidates that the search drew up to the last one. */
  tries?: number | undefined;
}

/** What FractalDB's category search found. */
export interface FractalSearch extends FractalSystems {
  fills: readonly number[];
  tries: number;
}

export const FLIPS = ['none', 'horizontal', 'vertical', 'both'] as const;
export type Flip = (typeof FLIPS)[number];

/** One picture of a category: what to give `fractals.render`, and where it stands in the category. */
export interface FractalInstance {
  ifs: Ifs;
  textureSeed: bigint;
  flip: Flip;
  /** Row of the weights, 0 to 24: 0 is the system itself, then a × (1 − 2w, 1 − w, 1 + w, 1 + 2w), the same of b, c, d, e, f. */
  row: number;
  /** Which random patches. */
  pattern: number;
}

/** A category of RCDB or VisualAtom. Lengths are pixels of a 512 × 512 picture. */
export interface ContourClass {
  set: 'rcdb' | 'visualatom';
  /** Corners of each polygon. 3 to 4096. */
  vertices: number;
  /** Polygons, from the inside out. 1 to 1000. */
  lines: number;
  /** How far the noise moves the corners from polygon to polygon. 0 to 10. */
  coefficient: number;
  /** Moves them by the same everywhere. 0 to 1. */
  width: number;
  /** Waves around the centre (VisualAtom). 0 to 1000. */
  frequencies: readonly [number, number];
  /** Its pictures follow from it. */
  seed: bigint;
}

const frequency = z.int().min(0).max(1000);

export const contourClassSchema = z.strictObject({
  set: z.enum(['rcdb', 'visualatom']),
  vertices: z.int().min(3).max(4096),
  lines: z.int().min(1).max(1000),
  coefficient: z.number().min(0).max(10),
  width: z.number().min(0).max(1),
  frequencies: z.tuple([frequency, frequency]).readonly(),
  seed: z.bigint().min(0n),
}) satisfies z.ZodType<ContourClass>;
