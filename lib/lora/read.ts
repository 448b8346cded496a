import { basename } from 'node:path';
import { z } from 'zod';
import { readSafetensorsHeaderSync, type TensorEntry } from '../diffusion/safetensors-header.js';
import { ArgumentError, SeedbedError } from '../errors.js';
import { checkOptions, nearest } from '../options.js';
import { readSafetensors } from '../safetensors.js';
import type { Tensor } from '../tensor.js';
import { baseOfWidth, otherModel, promptWidth, promptWidthOf } from './base.js';
import { detectFormat, KEY_WRITERS, locator, otherKind, type Locate, type LoraFormat, type LoraKey } from './formats.js';
import { LORA_PARTS, type LoraFactors, type LoraPart, type LoraWeights } from './lora.js';
import { allFinite, isLoraDtype, toFloat32 } from './numbers.js';
import { readAdapterConfig, readAdapterMetadata, type LoraScale, type ScaleOf } from './peft.js';
import type { LoraSite, LoraSites } from './sites.js';
import { findLoraFiles, type LoraFile } from './source.js';

const schema = z.strictObject({
  /** Whether keys that fit no layer, or have no partner, or another shape are an error; else they are listed in `unmatched`. Default true. */
  strict: z.boolean().default(true),
  /** What errors call the file. Default: its path. */
  name: z.string().min(1).optional(),
});

export type ReadLoraOptions = z.input<typeof schema>;

export interface LoraContent {
  weights: LoraWeights;
  format: LoraFormat;
  metadata: Record<string, string>;
  /** Keys that were left out; empty when `strict`. */
  unmatched: string[];
}

/**
 * Reads an adapter in any of the formats of docs/lora.md: a file, or a folder of PEFT's or diffusers'. `sites` are the layers of the
 * model that it is meant for. Everything must fit, unless `strict` is false. Throws `ERR_FILE_NOT_FOUND`, `ERR_FILE_READ`,
 * `ERR_FILE_FORMAT` (other adapters, other models' LoRAs, other files, by name), `ERR_WEIGHTS`, `ERR_DTYPE`, `ERR_NOT_FINITE`.
 */
export function readLora(path: string, sites: LoraSites, options: ReadLoraOptions = {}): LoraContent {
  const o = checkOptions(schema, options, 'readLora');
  if (typeof path !== 'string' || path === '') throw new ArgumentError('Expected the path of a file or a folder for readLora');
  const files = findLoraFiles(path).map((file) => openLora(file, o.name ?? file.path));
  const [first] = files as [OpenFile, ...OpenFile[]];
  const name = o.name ?? path;
  for (const file of files) checkBase(file, sites);

  const found = files.map((file) => gather(file, sites));
  const factors: Gathered['layers'] = new Map(found.flatMap(({ layers }) => [...layers]));
  const problems: Problems = { lost: found.flatMap(({ lost }) => lost), partner: [], shape: [] };
  const parts: Pick<LoraWeights, LoraPart> = { unet: {}, textEncoder: {} };
  for (const part of LORA_PARTS) {
    for (const site of sites[part]) {
      const layer = factors.get(site);
      const result = layer && factorsOf(layer, site, part, name, problems);
      if (result) parts[part][site.name] = result;
    }
  }
  const known = (): string[] => [...knownKeys(first.format, sites)];
  if (o.strict) throwProblems(problems, name, files, known);
  const embeddings = Object.fromEntries(found.flatMap((file) => Object.entries(file.embeddings)));
  checkEmbeddings(embeddings, sites, name);
  const layers = LORA_PARTS.reduce((sum, part) => sum + Object.keys(parts[part]).length, 0);
  if (layers === 0 && Object.keys(embeddings).length === 0) throw new SeedbedError('ERR_WEIGHTS', `Expected factors of this model's layers in '${name}' (${first.format}), found none among ${total(files)} tensors`);
  const unmatched = [...problems.lost, ...problems.partner.flatMap(({ keys }) => keys), ...problems.shape.flatMap(({ keys }) => keys)];
  return { weights: { ...parts, embeddings }, format: first.format, metadata: { ...first.metadata }, unmatched };
}

interface OpenFile extends LoraFile {
  name: string;
  header: ReadonlyMap<string, TensorEntry>;
  metadata: Readonly<Record<string, string>>;
  format: LoraFormat;
}

const total = (files: readonly OpenFile[]): number => files.reduce((sum, { header }) => sum + header.size, 0);

/** Files that are no adapters, by keys that only they have. */
const OTHER_FILES: readonly (readonly [name: string, pattern: RegExp])[] = [
  ['a whole model', /^model\.diffusion_model\.|^first_stage_model\./],
  ['a ControlNet', /^control_model\.|controlnet_cond_embedding/],
  ['one net of a model', /^(conv_in|decoder\.conv_in)\.weight$|^text_model\.embeddings\./],
];

/** All factors of every layer at rank 512 in float32 are less. */
const LARGEST = 4e9;

/** Reads the header only. Throws `ERR_FILE_FORMAT` naming what the file holds instead of a LoRA of ours. */
export function openLora(file: LoraFile, name: string): OpenFile {
  const { tensors: header, metadata } = readSafetensorsHeaderSync(file.path);
  const names = [...header.keys()];
  const bytes = [...header.values()].reduce((sum, { offsets: [begin, end] }) => sum + end - begin, 0);
  if (bytes > LARGEST) throw new SeedbedError('ERR_FILE_FORMAT', `Expected a LoRA of at most ${LARGEST / 1e9} GB in '${name}', its header names ${(bytes / 1e9).toFixed(1)} GB`);
  if (names.length === 0) throw new SeedbedError('ERR_FILE_FORMAT', `Expected a LoRA in '${name}', found a file without tensors`);
  const model = otherModel(names);
  const format = detectFormat(names) ?? (isTextualInversion(header) ? 'textual-inversion' : undefined);
  const kind = otherKind(names);
  if (names.some((key) => /^clip_[lg]$/.test(key))) throw new SeedbedError('ERR_FILE_FORMAT', `'${name}' is a textual inversion of Stable Diffusion XL; seedbed reads those of Stable Diffusion 1.x and 2.x`);
  if (kind !== undefined) throw new SeedbedError('ERR_FILE_FORMAT', `'${name}' is an adapter of the kind ${kind}; seedbed reads LoRA`);
  if (model !== undefined) throw new SeedbedError('ERR_FILE_FORMAT', `'${name}' is a LoRA of ${model}; seedbed reads those of Stable Diffusion 1.x and 2.x`);
  if (format === undefined) {
    const other = OTHER_FILES.find(([, pattern]) => names.some((key) => pattern.test(key)))?.[0];
    throw new SeedbedError('ERR_FILE_FORMAT', `Expected a LoRA in '${name}', found ${other ?? `${names.length} tensors of something else, the first '${names[0]}'`}`);
  }
  if (format === 'peft' && file.config === undefined) throw new SeedbedError('ERR_FILE_NOT_FOUND', `Expected adapter_config.json beside '${name}', which holds rank and alpha; found none`);
  return { ...file, name, header, metadata, format };
}

/** Whether a file holds nothing but embeddings of words: `{ word: tensor }` as diffusers writes it, or A1111's one tensor. */
function isTextualInversion(header: OpenFile['header']): boolean {
  const entries = [...header];
  const width = entries[0]?.[1].shape.at(-1) ?? 0;
  const fits = ([key, { shape }]: [string, TensorEntry]): boolean => shape.length >= 1 && shape.length <= 2 && shape.at(-1) === width && !/\.(weight|bias)$|:/.test(key);
  return entries.some(([key]) => ONE_TENSOR.test(key)) || (width >= LEAST_WIDTH && entries.every(fits));
}

/** Throws `ERR_WEIGHTS` when a file was made for a model whose prompts have another width. */
function checkBase({ header, name }: OpenFile, sites: LoraSites): void {
  const [found, expected] = [promptWidth(header), promptWidthOf(sites)];
  if (found === undefined || expected === undefined || found === expected) return;
  const called = (width: number): string => `${baseOfWidth(width)?.name ?? 'another model'} (prompts of width ${width})`;
  if (baseOfWidth(found) === undefined && baseOfWidth(expected) !== undefined) return; // an odd shape rather than another base
  throw new SeedbedError('ERR_WEIGHTS', `'${name}' is a LoRA of ${called(found)}, the model is ${baseOfWidth(expected) === undefined ? `one with prompts of width ${expected}` : called(expected)}`);
}

interface Layer {
  key: Partial<Record<LoraKey['role'], string>>;
  tensors: Partial<Record<LoraKey['role'], Tensor>>;
  scaleOf: ScaleOf | undefined;
}

interface Gathered {
  layers: Map<LoraSite, Layer>;
  embeddings: Record<string, Tensor>;
  lost: string[];
}

/** A1111's names of a textual inversion's only tensor; its word is the file's name. */
const ONE_TENSOR = /^emb_params$|^string_to_param(\.\*)?$/;
/** Embeddings are never narrower, not even those of models for tests. */
const LEAST_WIDTH = 16;

/** A textual-inversion embedding that trainers put into a kohya file. */
const BUNDLED = /^bundle_emb\.(.+)\.string_to_param\.\*$/;

/** Reads a file and sorts its tensors by the layer they belong to. */
function gather(file: OpenFile, sites: LoraSites): Gathered {
  const { tensors } = readSafetensors(file.path);
  const { format, metadata, header } = file;
  const locate: Locate = locator(format, sites, format === 'cloneofsimo' ? positionalClasses(file) : {});
  const fromMetadata = readAdapterMetadata(metadata, file.name);
  const config = file.config === undefined ? undefined : readAdapterConfig(file.config);
  const result: Gathered = { layers: new Map(), embeddings: {}, lost: [] };
  for (const key of header.keys()) {
    const tensor = Object.hasOwn(tensors, key) ? tensors[key] : undefined;
    const token = wordOf(key, file);
    const found = locate(key);
    if (tensor !== undefined && token !== undefined) result.embeddings[token] = tensor;
    else if (tensor === undefined || found === undefined) result.lost.push(key);
    else {
      const layer: Layer = result.layers.get(found.site) ?? { key: {}, tensors: {}, scaleOf: config ?? fromMetadata[found.part] };
      const other = layer.key[found.role];
      if (other !== undefined) throw new SeedbedError('ERR_WEIGHTS', `Expected one tensor for '${found.site.name}' (${found.role}) in '${file.name}', found '${other}' and '${key}'`);
      layer.key[found.role] = key;
      layer.tensors[found.role] = tensor;
      result.layers.set(found.site, layer);
    }
  }
  return result;
}

/** The word that a key holds an embedding of. */
function wordOf(key: string, { format, metadata, path }: OpenFile): string | undefined {
  if (format === 'textual-inversion') return ONE_TENSOR.test(key) ? (metadata['name'] ?? basename(path).replace(/\.safetensors$/, '')) : key;
  return format === 'cloneofsimo' && metadata[key] === '<embed>' ? key : BUNDLED.exec(key)?.[1];
}

/** Classes of layers that a list without names may count; the extended form of that format counts others. */
const COUNTED = ['CrossAttention', 'Attention', 'GEGLU', 'CLIPAttention'];

/** The classes of layers that a list without names counts: JSON in its metadata. Throws `ERR_FILE_FORMAT` for unknown ones. */
function positionalClasses({ metadata, name }: OpenFile): Partial<Record<LoraPart, string[]>> {
  const [unet, text] = ['unet', 'text_encoder'].map((part) => z.array(z.string()).safeParse(parsed(metadata[part])).data);
  const other = [...(unet ?? []), ...(text ?? [])].find((counted) => !COUNTED.includes(counted));
  if (other !== undefined) throw new SeedbedError('ERR_FILE_FORMAT', `Expected a list of layers of ${COUNTED.join(', ')} in '${name}', found '${other}' among them`);
  return unet === undefined ? {} : { unet };
}

function parsed(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? '');
  } catch {
    return undefined; // not of ours to judge: other programs' metadata
  }
}

interface Problem {
  text: string;
  keys: string[];
}

interface Problems {
  /** Keys that fit no layer. */
  lost: string[];
  partner: Problem[];
  shape: Problem[];
}

/** The factors of a layer, shaped for it; undefined, with a problem noted, when they do not fit. Throws `ERR_NOT_FINITE`, `ERR_DTYPE`. */
function factorsOf({ key, tensors, scaleOf }: Layer, site: LoraSite, part: LoraPart, name: string, problems: Problems): LoraFactors | undefined {
  const keys = Object.values(key);
  const { down, up, alpha } = tensors;
  if (down === undefined || up === undefined) {
    const missing = [down === undefined && 'down', up === undefined && 'up'].filter((role) => role !== false).join(' and ');
    problems.partner.push({ text: `'${keys[0]}' has no ${missing} factor beside it`, keys });
    return undefined;
  }
  const rank = down.shape[0] ?? 0;
  const shapes = shaped(down, up, site);
  if (shapes === undefined) {
    const show = (shape: readonly number[]): string => `[${shape.join(', ')}]`;
    problems.shape.push({ text: down.shape[0] === 0 ? `'${key.down}' has rank 0` : `'${key.down}' ${show(down.shape)} and '${key.up}' ${show(up.shape)} for a weight ${show(site.shape)}`, keys });
    return undefined;
  }
  for (const role of ['down', 'up'] as const) {
    const tensor = tensors[role] as Tensor;
    if (!isLoraDtype(tensor.dtype)) throw new SeedbedError('ERR_DTYPE', `Expected float32, float16 or bfloat16 for '${key[role]}' in '${name}', found ${tensor.dtype}`);
    if (!allFinite(tensor)) throw new SeedbedError('ERR_NOT_FINITE', `Expected finite numbers in '${name}', found NaN or infinity in '${key[role]}'`);
  }
  const { alpha: value, scale } = alpha === undefined ? (scaleOf?.(site.name, rank) ?? { alpha: rank, scale: 1 }) : ownScale(alpha, rank, key.alpha as string, name);
  if (!Number.isFinite(scale) || scale === 0) throw new SeedbedError('ERR_WEIGHTS', `Expected an alpha other than 0 for '${site.name}' (${part}) in '${name}', found ${value}`);
  return { ...shapes, alpha: value, scale };
}

/** alpha as the file has it: one number of any type, of no dimension or of one. */
function ownScale({ data, shape, dtype }: Tensor, rank: number, key: string, name: string): LoraScale {
  if (data.length !== 1 || shape.length > 1) throw new SeedbedError('ERR_WEIGHTS', `Expected one number for '${key}' in '${name}', found the shape [${shape.join(', ')}]`);
  const alpha = isLoraDtype(dtype) ? (toFloat32({ data, shape, dtype })[0] as number) : Number(data[0]);
  if (!Number.isFinite(alpha)) throw new SeedbedError('ERR_NOT_FINITE', `Expected a finite number for '${key}' in '${name}', found ${alpha}`);
  return { alpha, scale: alpha / rank };
}

/** Factors in the layer's own shapes: 1 x 1 kernels come and go. */
function shaped(down: Tensor, up: Tensor, { shape: [out, inChannels, ...kernel] }: LoraSite): Pick<LoraFactors, 'down' | 'up'> | undefined {
  const [rank = 0, , ...downKernel] = down.shape;
  const one = (sizes: readonly number[]): boolean => sizes.every((size) => size === 1) && [0, 2].includes(sizes.length);
  const same = downKernel.join() === kernel.join() || (one(downKernel) && one(kernel));
  if (rank === 0 || !same || down.shape[1] !== inChannels || up.shape[0] !== out || up.shape[1] !== rank || !one(up.shape.slice(2))) return undefined;
  return { down: { ...down, shape: [rank, inChannels as number, ...kernel] }, up: { ...up, shape: [out as number, rank] } };
}

const SHOWN = 5;

/** Throws the first kind of problem, with its count and the first few. */
function throwProblems({ lost, partner, shape }: Problems, name: string, files: readonly OpenFile[], known: () => readonly string[]): void {
  const few = (texts: readonly string[]): string => texts.slice(0, SHOWN).join(', ') + (texts.length > SHOWN ? ', ...' : '');
  const tensors = total(files);
  if (lost.length > 0) {
    const near = nearest(lost[0] as string, known());
    throw new SeedbedError('ERR_WEIGHTS', `Expected layers of this model in '${name}' (${files[0]?.format}), ${lost.length} of ${tensors} keys fit none: ${few(lost.map((key) => `'${key}'`))}${near === undefined ? '' : `; nearest to the first: '${near}'`}`);
  }
  if (partner.length > 0) throw new SeedbedError('ERR_WEIGHTS', `Expected down and up factors for each layer in '${name}', ${partner.length} of them lack one: ${few(partner.map(({ text }) => text))}`);
  if (shape.length > 0) throw new SeedbedError('ERR_WEIGHTS', `Expected factors [rank, in] and [out, rank] in '${name}', ${shape.length} layers have others: ${few(shape.map(({ text }) => text))}`);
}

/** Keys that would have fitted. */
function* knownKeys(format: LoraFormat, sites: LoraSites): Generator<string> {
  const write = format in KEY_WRITERS ? KEY_WRITERS[format as keyof typeof KEY_WRITERS] : KEY_WRITERS.diffusers;
  for (const part of LORA_PARTS) for (const { name } of sites[part]) for (const role of ['down', 'up'] as const) yield write(part, name, role);
}

/** Throws `ERR_WEIGHTS` for embeddings of another width than the text encoder's. */
function checkEmbeddings(embeddings: Readonly<Record<string, Tensor>>, sites: LoraSites, name: string): void {
  const width = sites.textEncoder[0]?.shape[1];
  for (const [token, tensor] of Object.entries(embeddings)) {
    const { shape } = tensor;
    const [found, expected] = [baseOfWidth(shape.at(-1)), baseOfWidth(width)];
    if (found !== undefined && expected !== undefined && found !== expected) throw new SeedbedError('ERR_WEIGHTS', `'${token}' in '${name}' is an embedding of ${found.name} (width ${shape.at(-1)}), the model is ${expected.name} (width ${width})`);
    if (![1, 2].includes(shape.length) || (width !== undefined && shape.at(-1) !== width)) throw new SeedbedError('ERR_WEIGHTS', `Expected [${width ?? 'width'}] or [vectors, ${width ?? 'width'}] for the embedding '${token}' in '${name}', found [${shape.join(', ')}]`);
    if (!isLoraDtype(tensor.dtype)) throw new SeedbedError('ERR_DTYPE', `Expected float32, float16 or bfloat16 for the embedding '${token}' in '${name}', found ${tensor.dtype}`);
    if (!allFinite(tensor)) throw new SeedbedError('ERR_NOT_FINITE', `Expected finite numbers in '${name}', found NaN or infinity in the embedding '${token}'`);
  }
}
