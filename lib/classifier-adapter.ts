import { z } from 'zod';
import { SeedbedError } from './errors.js';
import { allFinite } from './lora/numbers.js';
import type { ClassifierHandle } from './native.js';
import { native } from './native.js';
import { positiveInt, three } from './options.js';
import { readSafetensors, writeSafetensors } from './safetensors.js';
import type { Head } from './saved-classifier.js';
import type { Tensor } from './tensor.js';

/** Layers of the vision transformer that an adapter may change: parts of its attention, and its perceptron. */
export const ADAPTER_TARGETS = ['q', 'k', 'v', 'qkv', 'proj', 'fc1', 'fc2'] as const;

export const adaptersSchema = z.strictObject({
  /** Inner width of the factors. Default 16. */
  rank: positiveInt.max(4096).default(16),
  /** Strength: changes are multiplied by alpha / rank, which must be given with it. Default: rank. */
  alpha: z.number().min(0).optional(),
  /** Layers of each block that get factors. Default queries and values (arXiv 2106.09685, section 7.1). */
  targets: z.array(z.enum(ADAPTER_TARGETS)).min(1).default(['q', 'v']),
  /** First values: `kaiming` as PEFT, `gaussian` as diffusers. Default kaiming. */
  init: z.enum(['kaiming', 'gaussian']).default('kaiming'),
});

export type ClassifierAdapters = z.output<typeof adaptersSchema>;

type Factors = Record<string, { down: Tensor; up: Tensor; scale: number }>;

/** What is trained of a classifier beside the weights of another one. */
export interface AdapterInfo {
  rank: number;
  alpha: number;
  targets: readonly string[];
}

const KEY = 'seedbed.adapter';

const storedSchema = z.object({
  rank: positiveInt,
  alpha: z.number(),
  targets: z.array(z.string()),
  /** Of the weights that it was trained on. */
  base: z.string(),
  name: z.string(),
  classes: z.array(z.string()).min(2),
  mean: three,
  std: three,
  cropShare: z.number().min(0.1).max(1),
});

/** Writes factors and head into one safetensors file, with PEFT's names. */
export function writeAdapter(path: string, handle: ClassifierHandle, { rank, alpha, targets }: AdapterInfo, head: Head): void {
  const stored = native().classifierAdapter(handle);
  if (stored === undefined) throw new SeedbedError('ERR_INTERNAL', 'Expected a classifier with an adapter');
  const tensors: Record<string, Tensor> = { ...stored.head };
  for (const [layer, { down, up }] of Object.entries(stored.factors)) {
    tensors[`${layer}.lora_A.weight`] = down;
    tensors[`${layer}.lora_B.weight`] = up;
  }
  const { name, classes, mean, std, cropShare } = head;
  const settings: z.output<typeof storedSchema> = { rank, alpha, targets: [...targets], base: native().classifierFingerprint(handle), name, classes: [...classes], mean: [...mean], std: [...std], cropShare };
  writeSafetensors(path, tensors, { format: 'pt', [KEY]: JSON.stringify(settings) });
}

/** An adapter's file. Throws `ERR_FILE_NOT_FOUND`, `ERR_FILE_FORMAT`, `ERR_NOT_FINITE`, `ERR_WEIGHTS` for a factor without its partner. */
export function readAdapter(path: string): { factors: Factors; weights: Record<string, Tensor>; info: AdapterInfo; base: string; head: Head } {
  const { tensors, metadata } = readSafetensors(path);
  const { rank, alpha, targets, base, ...head } = settingsIn(metadata, path);
  const factors: Factors = {};
  const weights: Record<string, Tensor> = {};
  for (const [name, tensor] of Object.entries(tensors)) {
    if (!allFinite(tensor)) throw new SeedbedError('ERR_NOT_FINITE', `Expected finite numbers in '${path}', found NaN or infinity in '${name}'`);
    const [, layer, role] = /^(.*)\.lora_([AB])\.weight$/.exec(name) ?? [];
    if (layer === undefined) weights[name] = tensor;
    if (layer === undefined) continue;
    const partner = `${layer}.lora_${role === 'A' ? 'B' : 'A'}.weight`;
    const other = tensors[partner];
    if (other === undefined) throw new SeedbedError('ERR_WEIGHTS', `Expected '${partner}' beside '${name}' in '${path}', found none`);
    if (role === 'A') factors[layer] = { down: tensor, up: other, scale: alpha / rank };
  }
  if (Object.keys(factors).length === 0) throw new SeedbedError('ERR_WEIGHTS', `Expected factors in '${path}', found none`);
  return { factors, weights, info: { rank, alpha, targets }, base, head };
}

function settingsIn(metadata: Readonly<Record<string, string>>, path: string): z.output<typeof storedSchema> {
  let json: unknown;
  try {
    json = JSON.parse(metadata[KEY] ?? 'null');
  } catch {
    json = undefined;
  }
  const parsed = storedSchema.safeParse(json);
  if (!parsed.success) throw new SeedbedError('ERR_FILE_FORMAT', `Expected a classifier's adapter in '${path}', as saveAdapter writes it, found another file`);
  return parsed.data;
}
