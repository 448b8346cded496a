import { readDiffusionConfig, findModel } from '../diffusion/layout.js';
import { recogniseSingleFile } from '../diffusion/single-file.js';
import type { Dtype } from '../tensor.js';
import { baseOf, baseOfWidth } from './base.js';
import { LORA_PARTS, rankOf, type LoraPart } from './lora.js';
import { openLora, readLora, type LoraContent } from './read.js';
import { knownSites, textSites, unetSites, type LoraFamily, type LoraSite, type LoraSites } from './sites.js';
import { findLoraFiles } from './source.js';
import { layersOf } from './write.js';

/** What an adapter changes of one net. */
export interface LoraPartSummary {
  /** Layers that it changes. */
  layers: number;
  /** Layers of the same kinds in the model; of attention when the file changes none. */
  of: number;
}

export interface LoraSummary extends Pick<LoraContent, 'format' | 'metadata' | 'unmatched'> {
  /** The family of models it fits by its widths; undefined for other sizes. */
  family?: LoraFamily;
  parts: Record<LoraPart, LoraPartSummary>;
  /** Numbers in all factors. */
  parameters: number;
  /** Each value that occurs, ascending. */
  ranks: number[];
  alphas: number[];
  scales: number[];
  dtypes: Dtype[];
  /** Shapes of textual-inversion embeddings, by token. */
  embeddings: Record<string, readonly number[]>;
}

/** The family that a file was made for, by its widths. Throws what `readLora` throws for files that hold no LoRA of ours. */
export function familyOfFile(path: string): LoraFamily | undefined {
  for (const file of findLoraFiles(path)) {
    const { header, format } = openLora(file, file.path);
    const [first] = header.values();
    const family = (format === 'textual-inversion' ? baseOfWidth(first?.shape.at(-1)) : baseOf(header))?.family;
    if (family !== undefined) return family;
  }
  return undefined;
}

/** The layers of a model: a family's, or those of a diffusers folder or a single file, whose sizes are read and no weights. */
export async function sitesOf(model: string): Promise<LoraSites> {
  if (model === 'sd1' || model === 'sd2') return knownSites(model);
  const found = await findModel(model);
  const { config } = found.kind === 'diffusers' ? await readDiffusionConfig(found) : await recogniseSingleFile(found.path);
  return { unet: unetSites(config.unet), textEncoder: textSites(config.textEncoder) };
}

/** Says what an adapter holds. Keys that fit no layer of `sites` (default: of the family its widths tell) are in `unmatched`. */
export function inspectLora(path: string, sites?: LoraSites): LoraSummary {
  const family = familyOfFile(path);
  const target = sites ?? knownSites(family ?? 'sd1');
  const { weights, format, metadata, unmatched } = readLora(path, target, { strict: false });
  const layers = layersOf(weights).map(([, , factors]) => factors);
  const ascending = (values: readonly number[]): number[] => [...new Set(values)].sort((a, b) => a - b);
  const parts = Object.fromEntries(LORA_PARTS.map((part) => [part, partSummary(Object.keys(weights[part]), target[part])])) as LoraSummary['parts'];
  return {
    format,
    ...(family && { family }),
    parts,
    parameters: layers.reduce((sum, { down, up }) => sum + down.data.length + up.data.length, 0),
    ranks: ascending(layers.map(rankOf)),
    alphas: ascending(layers.map(({ alpha }) => alpha)),
    scales: ascending(layers.map(({ scale }) => scale)),
    dtypes: [...new Set(layers.flatMap(({ down, up }) => [down.dtype, up.dtype]))],
    embeddings: Object.fromEntries(Object.entries(weights.embeddings).map(([token, { shape }]) => [token, shape])),
    metadata,
    unmatched,
  };
}

/** A layer's place within its block: attn1.to_q, ff.net.2, conv1. */
const kindOfLayer = (name: string): string => name.replace(/^.*\.\d+\.(?=[a-z])/, '');

function partSummary(names: readonly string[], sites: readonly LoraSite[]): LoraPartSummary {
  const kinds = new Set(names.map(kindOfLayer));
  const counted = (name: string): boolean => (kinds.size === 0 ? /(^|\.)(attn[12]|self_attn)\./.test(name) : kinds.has(kindOfLayer(name)));
  return { layers: names.length, of: sites.filter(({ name }) => counted(name)).length };
}
