import { z } from 'zod';

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
