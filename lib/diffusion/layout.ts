import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { errorFromFile, SeedbedError } from '../errors.js';
import { kindOf } from '../files.js';
import { checkInputChannels, checkPipeline, otherArchitecture } from './architectures.js';
import { parseClipTextConfig, parseClipVisionConfig, parseUnetConfig, parseVaeConfig, type DiffusionConfig } from './config.js';
import { expectFit } from './config-fields.js';
import { parseFile, readJson } from './json-file.js';
import { checkWeights } from './safetensors-header.js';
import { chooseWeights, isPickle, pickleRefusal, WEIGHT_NAMES, type NetName, type WeightNames } from './weight-files.js';

/** Where one net of a model lies. */
export interface Component {
  /** Its config.json. */
  config: string;
  /** Its safetensors files; several when sharded. */
  weights: string[];
}

/** A folder in diffusers' layout. */
export interface DiffusersModel {
  kind: 'diffusers';
  folder: string;
  /** The pipeline's class in model_index.json. */
  pipeline: string;
  components: {
    unet: Component;
    vae: Component;
    textEncoder: Component;
    imageEncoder?: Component;
    /** The tokenizer's folder. */
    tokenizer: string;
    /** scheduler_config.json. */
    scheduler: string;
  };
}

/** One safetensors file in the original key layout. */
export interface SingleFileModel {
  kind: 'single-file';
  path: string;
}

export interface FindModelOptions {
  /** Weights of this kind, say `fp16`, where a net has them. Default: the plain ones. */
  variant?: string | undefined;
}

/**
 * Finds out what model lies at a path: a diffusers folder (complete, all files there) or a single safetensors file.
 * Throws `ERR_FILE_NOT_FOUND`, `ERR_FILE_READ`, or `ERR_FILE_FORMAT` for other kinds of files and other models, by name.
 */
export async function findModel(path: string, options: FindModelOptions = {}): Promise<DiffusersModel | SingleFileModel> {
  return (await kindOf(path)) === 'folder' ? findFolder(path, options) : findFile(path);
}

async function findFile(path: string): Promise<SingleFileModel> {
  if (isPickle(path)) throw pickleRefusal('a safetensors file or a diffusers folder', `'${path}'`);
  await checkWeights(path);
  return { kind: 'single-file', path };
}

const indexSchema = z.record(z.string(), z.unknown()).and(z.object({ _class_name: z.string() }));

/** The class that model_index.json names for a part; undefined when the model has none. */
function partClass(index: Readonly<Record<string, unknown>>, name: string): string | undefined {
  const entry = index[name];
  return Array.isArray(entry) && typeof entry[1] === 'string' ? entry[1] : undefined;
}

const PARTS: Readonly<Record<string, RegExp>> = {
  unet: /^UNet2DConditionModel$/,
  vae: /^AutoencoderKL$/,
  text_encoder: /^CLIPTextModel(WithProjection)?$/,
  tokenizer: /^CLIPTokenizer(Fast)?$/,
};

async function findFolder(folder: string, options: FindModelOptions): Promise<DiffusersModel> {
  const indexPath = join(folder, 'model_index.json');
  if (!existsSync(indexPath)) throw await noIndex(folder);
  const index = parseFile(indexSchema, await readJson(indexPath), indexPath);
  const pipeline = index._class_name;
  checkPipeline(pipeline, folder);
  for (const [name, expected] of Object.entries(PARTS)) {
    const found = partClass(index, name);
    if (found === undefined) throw new SeedbedError('ERR_FILE_FORMAT', `Expected a part '${name}' in '${indexPath}', found none`);
    if (!expected.test(found)) throw otherArchitecture(folder, `model whose ${name} is a ${found}`);
  }
  const { variant } = options;
  const names = (net: NetName): WeightNames => ({ ...WEIGHT_NAMES[net], variant });
  const tokenizer = join(folder, 'tokenizer');
  if (!existsSync(tokenizer)) throw new SeedbedError('ERR_FILE_NOT_FOUND', `Expected the model's tokenizer in '${tokenizer}', found nothing`);
  const nets = {
    unet: await findComponent(folder, 'unet', names('unet')),
    vae: await findComponent(folder, 'vae', names('vae')),
    textEncoder: await findComponent(folder, 'text_encoder', names('text_encoder')),
    ...(partClass(index, 'image_encoder') !== undefined && existsSync(join(folder, 'image_encoder')) && { imageEncoder: await findComponent(folder, 'image_encoder', names('image_encoder')) }),
  };
  if (variant !== undefined && !Object.values(nets).some(({ weights }) => weights.some((path) => basename(path).includes(`.${variant}`))))
    throw new SeedbedError('ERR_FILE_NOT_FOUND', `Expected weights of the variant '${variant}' in '${folder}', found none`);
  return { kind: 'diffusers', folder, pipeline, components: { ...nets, tokenizer, scheduler: await expectFile(join(folder, 'scheduler', 'scheduler_config.json'), "the model's scheduler") } };
}

/** Says what a folder without model_index.json is instead. */
async function noIndex(folder: string): Promise<SeedbedError> {
  const names = await readdir(folder).catch((error: unknown) => {
    throw errorFromFile(error, 'read', folder);
  });
  const single = names.find((name) => name.endsWith('.safetensors'));
  const part = names.includes('config.json') && Object.keys(PARTS).includes(basename(folder));
  const hint = part ? `; it looks like one part of a model: give the folder above it` : single === undefined ? '' : `; for the single file, give '${join(folder, single)}'`;
  return new SeedbedError('ERR_FILE_NOT_FOUND', `Expected a diffusers folder (model_index.json, unet, vae, text_encoder, tokenizer, scheduler) in '${folder}', found no model_index.json${hint}`);
}

async function expectFile(path: string, what: string): Promise<string> {
  const kind = await kindOf(path).catch((error: unknown) => {
    if ((error as SeedbedError).code === 'ERR_FILE_NOT_FOUND') throw new SeedbedError('ERR_FILE_NOT_FOUND', `Expected ${what} in '${path}', found nothing`, { cause: error });
    throw error;
  });
  if (kind === 'folder') throw new SeedbedError('ERR_FILE_READ', `Expected ${what} in '${path}', found a folder`);
  return path;
}

/** Settings and weight files of one net in a folder of its own. Throws `ERR_FILE_NOT_FOUND`, `ERR_FILE_FORMAT`. */
export async function readComponent<T>(folder: string, name: NetName, parse: (value: unknown, path: string) => T): Promise<{ config: T; weights: string[] }> {
  const { config, weights } = await findNet(folder, name, WEIGHT_NAMES[name]);
  return { config: parse(await readJson(config), config), weights };
}

const findComponent = (model: string, name: NetName, names: WeightNames): Promise<Component> => findNet(join(model, name), name, names);

async function findNet(folder: string, name: NetName, names: WeightNames): Promise<Component> {
  const config = await expectFile(join(folder, 'config.json'), `the settings of ${name}`);
  const weights = await findWeights(folder, names);
  for (const path of weights) await checkWeights(await expectFile(path, `weights of ${name}`));
  return { config, weights };
}

const shardsSchema = z.object({ weight_map: z.record(z.string(), z.string().regex(/^[^/\\]+\.safetensors$/, 'expected names of safetensors files beside it')) });

async function findWeights(folder: string, names: WeightNames): Promise<string[]> {
  const { file, sharded } = chooseWeights(await readdir(folder), folder, names);
  const path = join(folder, file);
  if (!sharded) return [path];
  const { weight_map: shards } = parseFile(shardsSchema, await readJson(path), path);
  return [...new Set(Object.values(shards))].sort().map((name) => join(folder, name));
}

/** Reads all settings of a diffusers folder and checks that its parts fit together. Throws `ERR_FILE_FORMAT`. */
export async function readDiffusionConfig({ components, folder }: DiffusersModel): Promise<{ config: DiffusionConfig; scheduler: Record<string, unknown> }> {
  const read = async <T>({ config }: Component, parse: (value: unknown, path: string) => T): Promise<T> => parse(await readJson(config), config);
  const config: DiffusionConfig = {
    unet: await read(components.unet, parseUnetConfig),
    vae: await read(components.vae, parseVaeConfig),
    textEncoder: await read(components.textEncoder, parseClipTextConfig),
    ...(components.imageEncoder !== undefined && { imageEncoder: await read(components.imageEncoder, parseClipVisionConfig) }),
  };
  const { unet, vae, textEncoder } = config;
  checkInputChannels(unet.inChannels, vae.latentChannels, folder);
  expectFit(unet.outChannels === vae.latentChannels, components.unet.config, `out_channels ${unet.outChannels} are not the VAE's ${vae.latentChannels} latent channels`);
  expectFit(unet.crossAttentionDim === textEncoder.width, components.unet.config, `cross_attention_dim ${unet.crossAttentionDim} is not the text encoder's hidden_size ${textEncoder.width}`);
  return { config, scheduler: parseFile(z.record(z.string(), z.unknown()), await readJson(components.scheduler), components.scheduler) };
}
