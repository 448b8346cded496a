import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { ArgumentError, SeedbedError } from '../errors.js';
import { Job, runNative } from '../job.js';
import { missingCuda, native, type DiffusionHandle, type LoadEvent } from '../native.js';
import { abortSignal, checkOptions, positiveInt } from '../options.js';
import { packageRoot } from '../setup/find.js';
import { checkSchedulerConfig } from '../scheduler-config.js';
import { threads } from '../threads.js';
import type { DiffusionConfig } from './config.js';
import { Diffusion } from './diffusion.js';
import { fetchModel, isHubName, type FetchModelOptions, type FetchProgress } from './hub.js';
import type { ModelDtype } from '../tensor.js';
import { parseFile, readJson } from './json-file.js';
import { findModel, readDiffusionConfig, type DiffusersModel } from './layout.js';
import type { DiffusionParts, GenerationDefaults } from './parts.js';
import { recogniseSingleFile, type SingleFile } from './single-file.js';
import { loadTokenizer } from './tokenizer.js';

export const DTYPES = ['auto', 'float32', 'bfloat16', 'float16'] as const;

const schema = z.strictObject({
  /**
   * What the networks compute in. `auto`: on the CPU bfloat16 where this processor multiplies faster in it, else float32; on a
   * GPU float16. `float16` is for GPUs; the autoencoder then stays in float32, since it leaves float16's range. Default `auto`.
   */
  dtype: z.enum(DTYPES).default('auto'),
  /** `cuda` needs a libtorch with CUDA and a GPU. `auto`: the GPU where libtorch finds one, else the CPU. Default `auto`. */
  device: z.enum(['auto', 'cpu', 'cuda']).default('auto'),
  /** Of a hub name: a branch, a tag or a commit. Default `main`. */
  revision: z.string().min(1).optional(),
  /** Weight files of this kind, say `fp16`, where the model has them. */
  variant: z.string().min(1).optional(),
  /** Folder of the tokenizer, for single files, which hold none. Default: that beside the file. */
  tokenizer: z.string().min(1).optional(),
  /** Threads of each call. Default: all cores. */
  threads: positiveInt.max(1024).optional(),
  signal: abortSignal.optional(),
});

export type LoadDiffusionOptions = z.input<typeof schema>;

const defaultsSchema = z.strictObject({ steps: positiveInt.optional(), guidanceScale: z.number().min(0).max(1000).optional() });

interface Source {
  name: string;
  config: DiffusionConfig;
  scheduler: Record<string, unknown>;
  tokenizer: string;
  defaults: GenerationDefaults;
  files: Record<'unet' | 'vae' | 'textEncoder', { files: string[]; originalLayout: boolean }> & { imageEncoder?: { files: string[]; originalLayout: boolean } };
}

export interface FetchEvent extends FetchProgress {
  type: 'fetch';
}

/** Models that come with the package, by name; the first is the default. */
export const shippedDiffusion = (): string[] => ['seedling'].filter((name) => existsSync(join(packageRoot, 'models', name, 'model_index.json')));

/**
 * Loads a Stable Diffusion 1.x or 2.x model: `seedling`, the small one that comes with the package, a diffusers folder, a single `.safetensors` file in the original layout, or
 * the hub's name of a model ('organisation/name'), fetched into the cache that Python shares. Weights are memory-mapped and must fit exactly. Throws `ERR_FILE_NOT_FOUND`, `ERR_FILE_FORMAT`, `ERR_WEIGHTS`,
 * `ERR_NOT_FINITE`, `ERR_NO_CUDA`, `ERR_DOWNLOAD`.
 */
export function loadDiffusion(source: string, options: LoadDiffusionOptions = {}): Job<FetchEvent | LoadEvent, Diffusion> {
  const o = checkOptions(schema, options, 'loadDiffusion');
  if (typeof source !== 'string' || source === '') throw new ArgumentError('Expected the path or the hub name of a model for loadDiffusion');
  return new Job<FetchEvent | LoadEvent, Diffusion>(
    async ({ emit, signal }) => {
      const placement = placementOf(o);
      const shipped = shippedDiffusion().includes(source) && !existsSync(source);
      const fromHub = !shipped && !existsSync(source) && isHubName(source);
      const path = shipped ? join(packageRoot, 'models', source) : !fromHub ? source : await fetchModel(source, { ...fetchOptions(o), signal, onProgress: (progress) => emit({ type: 'fetch', ...progress }) });
      const found = await findModel(path, { variant: o.variant });
      const model = found.kind === 'diffusers' ? await fromFolder(found) : fromSingleFile(await recogniseSingleFile(found.path), o.tokenizer);
      const tokenizer = await loadTokenizer(model.tokenizer);
      const call = {
        unet: { config: model.config.unet, ...model.files.unet },
        vae: { config: model.config.vae, ...model.files.vae },
        textEncoder: { config: model.config.textEncoder, ...model.files.textEncoder },
        ...(model.config.imageEncoder && { imageEncoder: { config: model.config.imageEncoder, ...model.files.imageEncoder } }),
        ...placement,
        threads: threads(o.threads),
      };
      const handle = await runNative<LoadEvent, DiffusionHandle>((listener) => native().loadDiffusion(call, listener), signal, emit);
      const parts: DiffusionParts = { name: fromHub || shipped ? source : model.name, handle, config: model.config, tokenizer, tokenizerFolder: model.tokenizer, schedulerConfig: model.scheduler, defaults: model.defaults, threads: o.threads };
      return new Diffusion(parts);
    },
    o,
  );
}

/** Where `loadDiffusion` puts a model, and in what numbers. */
export function placementOf({ device, dtype }: Pick<z.output<typeof schema>, 'device' | 'dtype'>): { device: 'cpu' | 'cuda'; dtype: ModelDtype } {
  const missing = device === 'cpu' ? undefined : missingCuda();
  if (device === 'cuda' && missing !== undefined) throw new SeedbedError('ERR_NO_CUDA', missing);
  if (device !== 'cpu' && missing === undefined) return { device: 'cuda', dtype: dtype === 'auto' ? 'float16' : dtype };
  if (dtype === 'float16') throw new ArgumentError("Expected 'auto', 'float32' or 'bfloat16' for dtype on the CPU, received 'float16', which is for device 'cuda'");
  return { device: 'cpu', dtype: dtype === 'auto' ? fastestDtype() : dtype };
}

function fetchOptions({ revision, variant }: z.output<typeof schema>): FetchModelOptions {
  return { ...(revision !== undefined && { revision }), ...(variant !== undefined && { variant }) };
}

async function fromFolder(found: DiffusersModel): Promise<Source> {
  const { unet, vae, textEncoder, imageEncoder, tokenizer } = found.components;
  const { config, scheduler } = await readDiffusionConfig(found);
  try {
    checkSchedulerConfig(scheduler);
  } catch (error) {
    throw new SeedbedError('ERR_FILE_FORMAT', `Wrong settings in '${found.components.scheduler}': ${(error as Error).message}`, { cause: error });
  }
  const files = (component: { weights: string[] }): { files: string[]; originalLayout: boolean } => ({ files: component.weights, originalLayout: false });
  const defaultsPath = join(found.folder, 'seedbed.json');
  const defaults = existsSync(defaultsPath) ? parseFile(defaultsSchema, await readJson(defaultsPath), defaultsPath) : {};
  return { name: basename(found.folder), config, scheduler, tokenizer, defaults, files: { unet: files(unet), vae: files(vae), textEncoder: files(textEncoder), ...(imageEncoder && { imageEncoder: files(imageEncoder) }) } };
}

function fromSingleFile({ path, config, scheduler }: SingleFile, tokenizer: string | undefined): Source {
  const beside = `${path.replace(/[^/\\]*$/, '')}tokenizer`;
  const folder = tokenizer ?? beside;
  if (tokenizer === undefined && !existsSync(beside)) {
    throw new SeedbedError('ERR_FILE_NOT_FOUND', `Expected a tokenizer (vocab.json, merges.txt) for '${path}', which holds none: put the 'tokenizer' folder of a diffusers model beside it, or name one with the option tokenizer`);
  }
  const part = { files: [path], originalLayout: true };
  return { name: basename(path), config, scheduler, tokenizer: folder, defaults: {}, files: { unet: part, vae: part, textEncoder: part } };
}

let fastest: 'float32' | 'bfloat16' | undefined;

/** Measured once: some processors that know bfloat16 are slower in it. */
function fastestDtype(): 'float32' | 'bfloat16' {
  fastest ??= native().measureMatmul('bfloat16') > native().measureMatmul('float32') ? 'bfloat16' : 'float32';
  return fastest;
}
