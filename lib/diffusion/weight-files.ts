import { extname, join } from 'node:path';
import { SeedbedError } from '../errors.js';

/** How the files of a net's weights are called. */
export interface WeightNames {
  /** Name of the safetensors file without endings. */
  base: string;
  /** Name of the pickle that stood there before safetensors. */
  pickle: string;
  /** The kind that is wanted where there is one, say `fp16`. */
  variant?: string | undefined;
}

const DIFFUSION = { base: 'diffusion_pytorch_model', pickle: 'diffusion_pytorch_model' };
const TRANSFORMER = { base: 'model', pickle: 'pytorch_model' };

/** The nets of a diffusers folder, by the name of their folder. */
export const WEIGHT_NAMES = { unet: DIFFUSION, vae: DIFFUSION, text_encoder: TRANSFORMER, image_encoder: TRANSFORMER };
export type NetName = keyof typeof WEIGHT_NAMES;

export const isPickle = (path: string): boolean => ['.ckpt', '.pt', '.pth', '.bin', '.pkl'].includes(extname(path).toLowerCase());

export function pickleRefusal(expected: string, found: string): SeedbedError {
  return new SeedbedError(
    'ERR_FILE_FORMAT',
    `Expected ${expected}, found ${found}: a pickle, which can run any program when it is read, and is refused; load it in Python where you trust it and save it with diffusers' save_pretrained(folder, safe_serialization=True)`,
  );
}

/**
 * Chooses among the names in a net's folder: the wanted variant, else the plain weights, else the only variant there is; one
 * file, or the index of shards. Throws `ERR_FILE_NOT_FOUND`, or `ERR_FILE_FORMAT` when there are only pickles.
 */
export function chooseWeights(present: readonly string[], folder: string, { base, pickle, variant }: WeightNames): { file: string; sharded: boolean } {
  const others = present.flatMap((name) => new RegExp(`^${base}\\.([^.]+)\\.safetensors$`).exec(name)?.[1] ?? []);
  const candidates = [...(variant === undefined ? [] : [variant]), undefined, ...(others.length === 1 ? others : [])];
  for (const candidate of candidates) {
    const [whole, index] = candidate === undefined ? [`${base}.safetensors`, `${base}.safetensors.index.json`] : [`${base}.${candidate}.safetensors`, `${base}.safetensors.index.${candidate}.json`];
    if (present.includes(whole)) return { file: whole, sharded: false };
    if (present.includes(index)) return { file: index, sharded: true };
  }
  const expected = `'${join(folder, `${base}${variant === undefined ? '' : `.${variant}`}.safetensors`)}'`;
  const found = present.find((name) => name.startsWith(pickle) && isPickle(name));
  if (found !== undefined) throw pickleRefusal(expected, `only ${found}`);
  throw new SeedbedError('ERR_FILE_NOT_FOUND', `Expected ${expected}, found ${others.length === 0 ? 'no weights' : `only the variants ${others.map((name) => `'${name}'`).join(', ')}; choose one with variant`}`);
}
