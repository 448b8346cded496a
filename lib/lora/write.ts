import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { ArgumentError } from '../errors.js';
import { writeFileWhole, writeFolderWhole } from '../files.js';
import { checkOptions } from '../options.js';
import { writeSafetensors } from '../safetensors.js';
import type { Tensor } from '../tensor.js';
import { baseOfWidth } from './base.js';
import { hasOwnName, KEY_WRITERS, type KeyWriter } from './formats.js';
import { LORA_PARTS, rankOf, type LoraFactors, type LoraPart, type LoraWeights } from './lora.js';
import { castTensor, holds, allFinite, LORA_DTYPES, scalar, scaled, type LoraDtype } from './numbers.js';
import { ADAPTER_METADATA } from './peft.js';
import type { LoraFamily } from './sites.js';

const schema = z.strictObject({
  /** `diffusers`: what `load_lora_weights` reads. `kohya`: for ComfyUI, A1111, sd-scripts. `peft`: a folder, or a file with PEFT's names when the path ends in .safetensors. */
  format: z.enum(['diffusers', 'kohya', 'peft']),
  /** Default: each tensor as it is. */
  dtype: z.enum(LORA_DTYPES).optional(),
  /** The model it is for, which kohya's metadata say. Default: by the factors' widths. */
  family: z.enum(['sd1', 'sd2']).optional(),
  /** Text for the file's metadata, beside what the format asks for. */
  metadata: z.record(z.string(), z.string()).default({}),
  /** Add output projections that change nothing to a text encoder that has none: diffusers cannot read such a kohya file. Default false: refuse. */
  padOutProj: z.boolean().default(false),
});

export type WriteLoraOptions = z.input<typeof schema>;
type Written = 'diffusers' | 'diffusers-peft' | 'kohya';

/**
 * Writes an adapter, whole or not at all; equal weights give equal bytes. Formats without alphas get factors whose scale is 1: another one
 * is multiplied into `up`. Returns the paths that were written: formats without a place for embeddings have them in files of their own beside it.
 * Throws `ArgumentError`, `ERR_NOT_FINITE`, `ERR_FILE_WRITE`, `ERR_DISK_FULL`.
 */
export async function writeLora(path: string, weights: LoraWeights, options: WriteLoraOptions): Promise<string[]> {
  const o = checkOptions(schema, options, 'writeLora');
  if (typeof path !== 'string' || path === '') throw new ArgumentError('Expected the path of a file or a folder for writeLora');
  if (ADAPTER_METADATA in o.metadata) throw new ArgumentError(`Expected metadata without '${ADAPTER_METADATA}', which would say alphas a second time`);
  const complete = checkWeights(o.padOutProj && o.format !== 'peft' ? padded(weights) : weights, o.format);
  const cast = castWeights(complete, o.dtype);
  if (o.format === 'peft' && !path.endsWith('.safetensors')) await writePeftFolder(path, cast);
  else {
    const format: Written = o.format === 'peft' ? 'diffusers-peft' : o.format;
    const metadata = format === 'kohya' ? kohyaMetadata(cast, o.family ?? familyOf(cast)) : { format: 'pt' };
    writeSafetensors(path, sorted(tensorsOf(cast, format)), sorted({ ...o.metadata, ...metadata }));
  }
  return [path, ...(o.format === 'kohya' ? [] : writeEmbeddings(path, cast.embeddings))];
}

const sorted = <T>(record: Readonly<Record<string, T>>): Record<string, T> => Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)));

/** All layers of an adapter. */
export const layersOf = (weights: LoraWeights): [LoraPart, string, LoraFactors][] => LORA_PARTS.flatMap((part) => Object.entries(weights[part]).map(([name, factors]): [LoraPart, string, LoraFactors] => [part, name, factors]));

function checkWeights(weights: LoraWeights, format: 'diffusers' | 'kohya' | 'peft'): LoraWeights {
  const layers = layersOf(weights);
  if (layers.length === 0) throw new ArgumentError('Expected factors of at least one layer for writeLora, received none');
  for (const [, name, factors] of layers) {
    const { down, up, scale } = factors;
    const rank = rankOf(factors);
    if (rank === 0 || ![2, 4].includes(down.shape.length) || up.shape.length !== 2 || up.shape[1] !== rank) throw new ArgumentError(`Expected down [rank, in] or [rank, in, k, k] and up [out, rank] for '${name}', received [${down.shape.join(', ')}] and [${up.shape.join(', ')}]`);
    if (!Number.isFinite(scale) || scale === 0) throw new ArgumentError(`Expected a finite scale other than 0 for '${name}', received ${scale}`);
    if (!allFinite(down) || !allFinite(up)) throw new ArgumentError(`Expected finite factors for '${name}', received NaN or infinity`);
  }
  const text = Object.keys(weights.textEncoder);
  if (format !== 'peft' && text.some((name) => ATTENTION.test(name)) && !text.some((name) => name.endsWith('out_proj'))) {
    throw new ArgumentError("Expected out_proj among the text encoder's layers, by which diffusers recognises the names in a kohya file; set padOutProj to add ones that change nothing, or write 'peft'");
  }
  return weights;
}

const ATTENTION = /\.self_attn\.[qkv]_proj$/;

/** Adds output projections of zeros wherever a layer of the text encoder has others. */
function padded(weights: LoraWeights): LoraWeights {
  const textEncoder = { ...weights.textEncoder };
  for (const [name, factors] of Object.entries(weights.textEncoder)) {
    const { down, up } = factors;
    const out = name.replace(ATTENTION, '.self_attn.out_proj');
    const zeros = (tensor: Tensor): Tensor => ({ ...tensor, data: tensor.data.map(() => 0 as never) });
    if (ATTENTION.test(name)) textEncoder[out] ??= { ...factors, down: zeros(down), up: zeros(up) };
  }
  return { ...weights, textEncoder };
}

function castWeights(weights: LoraWeights, dtype: LoraDtype | undefined): LoraWeights {
  if (dtype === undefined) return weights;
  const cast = (factors: Record<string, LoraFactors>): Record<string, LoraFactors> =>
    Object.fromEntries(Object.entries(factors).map(([name, { down, up, ...rest }]) => [name, { ...rest, down: castTensor(down, dtype, name), up: castTensor(up, dtype, name) }]));
  const embeddings = Object.fromEntries(Object.entries(weights.embeddings).map(([token, tensor]) => [token, castTensor(tensor, dtype, token)]));
  return { unet: cast(weights.unet), textEncoder: cast(weights.textEncoder), embeddings };
}

/** alpha for readers that divide it by the rank. */
const plainAlpha = (factors: LoraFactors): number => {
  const rank = rankOf(factors);
  return factors.alpha / rank === factors.scale ? factors.alpha : factors.scale * rank;
};

/** `up` with a kernel where `down` has one. */
const kernelled = (up: Tensor, down: Tensor): Tensor => (down.shape.length === 4 ? ({ ...up, shape: [...up.shape, 1, 1] }) : up);

function tensorsOf(weights: LoraWeights, format: Written): Record<string, Tensor> {
  // diffusers looks at the first key of the UNet and takes all others for the same kind: where some must be PEFT's, all are.
  const mixed = format === 'diffusers' && Object.keys(weights.unet).some((name) => !hasOwnName('unet', name));
  const key: KeyWriter = (part, name, role) => KEY_WRITERS[mixed && part === 'unet' ? 'diffusers-peft' : format](part, name, role);
  const tensors: Record<string, Tensor> = {};
  for (const [part, name, factors] of layersOf(weights)) {
    const { down, up, scale } = factors;
    tensors[key(part, name, 'down')] = down;
    tensors[key(part, name, 'up')] = kernelled(format === 'kohya' ? up : scaled(up, scale, name), down);
    if (format !== 'kohya') continue;
    const alpha = plainAlpha(factors);
    const dtype = down.dtype as LoraDtype;
    tensors[key(part, name, 'alpha')] = scalar(alpha, holds(dtype, alpha) ? dtype : 'float32');
  }
  if (format === 'kohya') for (const [token, tensor] of Object.entries(weights.embeddings)) tensors[`bundle_emb.${token}.string_to_param.*`] = rows(tensor);
  return tensors;
}

/** An embedding as [vectors, width]. */
const rows = (tensor: Tensor): Tensor => (tensor.shape.length === 1 ? ({ ...tensor, shape: [1, ...tensor.shape] }) : tensor);

/** One file for each token, as textual inversions are stored; returns their paths. */
function writeEmbeddings(path: string, embeddings: Readonly<Record<string, Tensor>>): string[] {
  return Object.entries(embeddings).map(([token, tensor]) => {
    const file = `${path.replace(/\.safetensors$/, '')}.${encodeURIComponent(token)}.safetensors`;
    writeSafetensors(file, { [token]: rows(tensor) }, { format: 'pt' });
    return file;
  });
}

/** The family that the factors' widths tell. */
function familyOf(weights: LoraWeights): LoraFamily {
  const width = (part: LoraPart, end: RegExp): number | undefined => Object.entries(weights[part]).find(([name]) => end.test(name))?.[1].down.shape[1];
  return baseOfWidth(width('unet', /attn2\.to_[kv]$/) ?? width('textEncoder', ATTENTION))?.family ?? 'sd1';
}

/** What programs of that world read off a file. */
function kohyaMetadata(weights: LoraWeights, family: LoraFamily): Record<string, string> {
  const layers = layersOf(weights).map(([, , factors]) => factors);
  const same = (values: readonly number[]): string => (new Set(values).size === 1 ? String(values[0]) : 'Dynamic'); // as sd-scripts says of mixed ones
  return {
    ss_v2: family === 'sd2' ? 'True' : 'False',
    ss_base_model_version: family === 'sd2' ? 'sd_v2' : 'sd_v1',
    ss_network_module: 'networks.lora',
    ss_network_dim: same(layers.map(rankOf)),
    ss_network_alpha: same(layers.map(plainAlpha)),
  };
}

const FOLDERS: Readonly<Record<LoraPart, string>> = { unet: 'unet', textEncoder: 'text_encoder' };

/** A folder that PEFT's `from_pretrained` reads; one for each net below it when there are two. */
async function writePeftFolder(folder: string, weights: LoraWeights): Promise<void> {
  const parts = LORA_PARTS.filter((part) => Object.keys(weights[part]).length > 0);
  await writeFolderWhole(folder, async (temporary) => {
    for (const part of parts) {
      const into = parts.length === 1 ? temporary : join(temporary, FOLDERS[part]);
      await mkdir(into, { recursive: true });
      const tensors: Record<string, Tensor> = {};
      for (const [name, { down, up }] of Object.entries(weights[part])) {
        tensors[KEY_WRITERS.peft(part, name, 'down')] = down;
        tensors[KEY_WRITERS.peft(part, name, 'up')] = kernelled(up, down);
      }
      writeSafetensors(join(into, 'adapter_model.safetensors'), sorted(tensors), { format: 'pt' });
      await writeFileWhole(join(into, 'adapter_config.json'), `${JSON.stringify(adapterConfig(weights[part]), null, 2)}\n`);
    }
  });
}

function adapterConfig(factors: Readonly<Record<string, LoraFactors>>): Record<string, unknown> {
  const entries = Object.entries(factors).sort(([a], [b]) => (a < b ? -1 : 1));
  const rootScale = entries.every(([, f]) => f.scale === f.alpha / Math.sqrt(rankOf(f)) && f.scale !== f.alpha / rankOf(f));
  const values = (numberOf: (f: LoraFactors) => number): { usual: number; pattern: Record<string, number> } => {
    const usual = commonest(entries.map(([, f]) => numberOf(f)));
    return { usual, pattern: Object.fromEntries(entries.filter(([, f]) => numberOf(f) !== usual).map(([name, f]) => [`^${name.replaceAll('.', '\\.')}`, numberOf(f)])) };
  };
  const rank = values(rankOf);
  const alpha = values((f) => (rootScale ? f.alpha : plainAlpha(f)));
  return {
    peft_type: 'LORA',
    task_type: null,
    base_model_name_or_path: null,
    inference_mode: true,
    r: rank.usual,
    rank_pattern: rank.pattern,
    lora_alpha: alpha.usual,
    alpha_pattern: alpha.pattern,
    use_rslora: rootScale,
    use_dora: false,
    lora_dropout: 0,
    bias: 'none',
    fan_in_fan_out: false,
    init_lora_weights: true,
    target_modules: entries.map(([name]) => name),
  };
}

function commonest(values: readonly number[]): number {
  const counts = new Map<number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].reduce((best, entry) => (entry[1] > best[1] ? entry : best))[0];
}
