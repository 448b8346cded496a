import { z } from 'zod';

/**
 * An iterated function system: N affine maps `[[a, b, e], [c, d, f]]`, (x, y) → (a x + b y + e, c x + d y + f), and the
 * chance of each, which sum to 1.
 */
export type Ifs = Readonly<{ affine: readonly (readonly (readonly number[])[])[]; weights: readonly number[] }>;

export const ifsSchema = z.strictObject({
  affine: z.array(z.tuple([z.tuple([z.number(), z.number(), z.number()]), z.tuple([z.number(), z.number(), z.number()])])).min(1).max(16),
  weights: z.array(z.number().min(0).max(1)).min(1).max(16),
});

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
