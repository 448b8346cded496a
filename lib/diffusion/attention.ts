import { z } from 'zod';
import { defined } from '../options.js';
import type { Tensor } from '../tensor.js';

const scopeFields = {
  /** Beginnings of layers' names, `'up_blocks.2'`; `*` stands for any parts, `'*.attn1'` (self-attention; attn2 reads the prompt). `info.attentionLayers` has all. */
  layers: z.array(z.string().min(1)).min(1).optional(),
  /** Lowest and highest timestep at which this acts, both included. Default: all. */
  timesteps: z.tuple([z.number(), z.number()]).optional(),
};

const recordSchema = z.strictObject({
  ...scopeFields,
  /** Default `mean`. */
  heads: z.enum(['mean', 'all']).default('mean'),
  /** The mean over all calls of the network, or a record for each. Default `mean`. */
  steps: z.enum(['mean', 'each']).default('mean'),
});

const contrastSchema = z.strictObject({
  ...scopeFields,
  /** 1: as it is; 0: all keys alike; the paper takes 1.67. */
  strength: z.number().min(0).max(1000),
  /** Places in the batch. Default: all. */
  pictures: z.array(z.int().min(0)).min(1).optional(),
});

const swapSchema = z.strictObject({
  ...scopeFields,
  /** Place in the batch whose keys and values are taken. */
  from: z.int().min(0),
  /** Place in the batch that gets them. */
  to: z.int().min(0),
});

const oneOrMore = <S extends z.ZodType>(schema: S): z.ZodUnion<[S, z.ZodArray<S>]> => z.union([schema, z.array(schema).min(1)]);

/** What is done inside the network's attention layers: first the swaps, then the contrasts, then the record of what results. */
export const attentionSchema = z.strictObject({
  /** Self-attention reads another picture's keys and values (cross-image attention, arXiv 2311.03335; CACTIF, 2505.16360). Default layers: all of self-attention. */
  swap: oneOrMore(swapSchema).optional(),
  /** Probabilities spread about their mean over the keys, `strength (p - mean) + mean`, clamped to [0, 1] (arXiv 2311.03335). Default layers: self-attention. */
  contrast: oneOrMore(contrastSchema).optional(),
  /** Layers whose probabilities come back; a list is short for `{ layers }`. Each costs its full matrix, positions x keys. */
  record: z.union([z.array(z.string().min(1)).min(1), recordSchema]).optional(),
});

export type AttentionOptions = z.input<typeof attentionSchema>;

/** Attention probabilities of one layer. */
export interface AttentionRecord {
  layer: string;
  /** Of the feature map whose positions, row by row, are the queries. */
  height: number;
  width: number;
  /** Of the calls that this is the mean of. */
  timesteps: number[];
  /** [pictures, queries, keys], or with `heads: 'all'` [pictures, heads, queries, keys]; with guidance those of the prompt's half. */
  probabilities: Tensor<'float32'>;
}

const SELF_ATTENTION = ['*.attn1'];

const list = <T>(value: T | T[] | undefined): T[] => (value === undefined ? [] : Array.isArray(value) ? value : [value]);

function scope({ layers, timesteps }: { layers?: string[] | undefined; timesteps?: [number, number] | undefined }, fallback?: string[]): Record<string, unknown> {
  return defined({ layers: layers ?? fallback, lowestTimestep: timesteps?.[0], highestTimestep: timesteps?.[1] });
}

/** As the addon reads it. */
export function nativeAttention({ swap, contrast, record }: z.output<typeof attentionSchema>): Record<string, unknown> {
  const recorded = Array.isArray(record) ? { layers: record, heads: 'mean', steps: 'mean' } : record;
  return defined({
    swap: list(swap).map((one) => ({ ...scope(one, SELF_ATTENTION), from: one.from, to: one.to })),
    contrast: list(contrast).map((one) => defined({ ...scope(one, SELF_ATTENTION), strength: one.strength, pictures: one.pictures })),
    record: recorded && { ...scope(recorded), meanHeads: recorded.heads === 'mean', meanSteps: recorded.steps === 'mean' },
  });
}
