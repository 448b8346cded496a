import { existsSync } from 'node:fs';
import { copyFile, mkdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { augmentSchema, nativeAugment } from '../augment.js';
import { readClip } from '../diffusion/clip-files.js';
import { CLIP_MEAN, CLIP_STD, clipTextJson, clipVisionJson, type ClipTextConfig, type ClipVisionConfig } from '../diffusion/clip-config.js';
import type { WarningEvent } from '../diffusion/results.js';
import { TOKENIZER_FILES } from '../diffusion/save.js';
import { loadTokenizer, type ClipTokenizer } from '../diffusion/tokenizer.js';
import { ArgumentError } from '../errors.js';
import { expectNewFolder, writeFileWhole, writeFolderWhole } from '../files.js';
import { Job, runNative } from '../job.js';
import { native, type ClipTrainEvent, type NativeClipResult, type Retrieval, type RetrievalEvent } from '../native.js';
import { checkOptions, positiveInt } from '../options.js';
import { writeSafetensors } from '../safetensors.js';
import type { Tensor } from '../tensor.js';
import { integerTensor, readCaptions, type Captions } from './captions.js';
import { nativeUpdates, precision, updateFields, updateSettings } from './options.js';
import { pictureTensor, type Pictures } from './pictures.js';

const [TEXT_WIDTH, VISION_WIDTH, PROJECTION, HEAD_SIZE] = [192, 128, 192, 32];
const BICUBIC = 3; // Pillow's number
const MILD = { scale: [0.9, 1], flip: 0 } as const; // of OpenCLIP's training, which does not flip

const towerFields = {
  /** Width of a token, a multiple of `heads`. Default 192 for texts, 128 for pictures. */
  width: positiveInt.max(8192).optional(),
  /** Default 4. */
  layers: positiveInt.max(128).default(4),
  /** Default: heads of width 32. */
  heads: positiveInt.max(256).optional(),
  /** Hidden width of the MLPs. Default 4 times `width`. */
  intermediateSize: positiveInt.optional(),
};

const heldOut = z.strictObject({
  pictures: z.custom<Pictures>((value) => typeof value === 'object' && value !== null, 'pictures'),
  captions: z.custom<Captions>((value) => Array.isArray(value), 'a list of texts or of lists of texts'),
  groups: z.custom<readonly number[]>((value) => Array.isArray(value), 'a list of integers').optional(),
});

const { averageDecay, betas, weightDecay, ...sameFields } = updateFields;

const schema = z.strictObject({
  ...sameFields,
  precision,
  averageDecay,
  /** Of AdamW. Default [0.9, 0.98]. */
  betas: betas.unwrap().default([0.9, 0.98]),
  /** Of AdamW, on parameters with more than one dimension. Default 0.05. */
  weightDecay: weightDecay.unwrap().default(0.05),
  /** Folder of a CLIP tokenizer; it is copied beside the towers. Expected unless there is a `start`. */
  tokenizer: z.string().min(1).optional(),
  /** A CLIP to begin with, what `loadClip` takes, in place of random weights and of `tokenizer`, `text`, `vision` and `projectionDim`. */
  start: z.string().min(1).optional(),
  text: z.strictObject(towerFields).optional(),
  /** `patchSize`: pixels of a side of a patch, a divisor of the pictures' sides. Default 8. */
  vision: z.strictObject({ ...towerFields, patchSize: positiveInt.default(8) }).optional(),
  /** Numbers in which pictures and texts are compared. Default 192. */
  projectionDim: positiveInt.max(8192).optional(),
  /**
   * An integer for each picture. In a batch, pictures of one group are no wrong answers to each other's captions: for pictures that the same
   * caption describes. What never stands against each other is not told apart either. Default: each picture is its own.
   */
  groups: heldOut.shape.groups,
  /** Pairs per update; the larger, the harder the choice. Default 256. */
  batchSize: z.int().min(2).max(65536).default(256),
  /** Pairs that one thread encodes at a time. Part of the result: equal seeds with another value differ by rounding. Default 64. */
  shardSize: positiveInt.max(65536).default(64),
  /**
   * What is shown of a picture at each use: a random part of it, changed as the options say, which makes the towers find what they never saw. `flip` is 0 here
   * unless given, for captions may tell left from right; `{}` cuts as little as OpenCLIP does (`scale` [0.9, 1]). Default: the whole picture as it is.
   */
  augment: augmentSchema.optional(),
  /** Pairs to measure on: each picture's first caption is looked for among all, and the other way round. Default none. */
  validation: heldOut.optional(),
});

export type TrainClipOptions = z.input<typeof schema>;

/** A finished run; the towers lie in `folder`. */
export interface ClipTraining {
  folder: string;
  textConfig: ClipTextConfig;
  visionConfig: ClipVisionConfig;
  steps: number;
  samples: number;
  /** Of each update. */
  losses: number[];
  evaluations: RetrievalEvent[];
  /** Of the weights that were written; there when `validation` was given. */
  pictureToText?: Retrieval;
  textToPicture?: Retrieval;
  /** What similarities (cosines) are multiplied by. */
  logitScale: number;
  /**
   * How far the text tower's states of different captions lie apart at each position, as a share of their length: 0 is one vector for all (so
   * always at the first), 1 nothing in common. Below about 0.5 behind the words, a diffusion model that reads the states will ignore them.
   */
  spread: number[];
  /** What the run was told, with the defaults that were filled in. */
  settings: Record<string, unknown>;
}

/**
 * Trains a text tower and an image tower together (CLIP, arXiv 2103.00020) on square pictures with captions, one or several each, of which
 * one is drawn at each use. Writes `text_encoder/`, `tokenizer/`, `image_encoder/` and `feature_extractor/` into a folder: parts of a diffusers pipeline, and
 * transformers' `CLIPTextModelWithProjection` and `CLIPVisionModelWithProjection`. Weights are float32; `precision` says in what products are.
 * `await trainClip(images, ['a cat', ['a dog', 'a puppy']], { out: 'clip', tokenizer: 'tokenizer', steps: 2000 })`.
 * Throws `ERR_INVALID_ARGUMENT`, `ERR_FILE_NOT_FOUND`, `ERR_FILE_WRITE`, `ERR_NOT_FINITE`; a run that diverges leaves its last checkpoint.
 */
export function trainClip(pictures: Pictures, captions: Captions, options: TrainClipOptions): Job<ClipTrainEvent | WarningEvent, ClipTraining> {
  const o = checkOptions(schema, options, 'trainClip');
  const updates = nativeUpdates(o);
  const tensor = pictureTensor(pictures, 'pictures');
  const held = o.validation && { ...o.validation, tensor: pictureTensor(o.validation.pictures, 'validation.pictures') };
  const beginning = o.start === undefined ? newTowers(o, tensor) : aloneStart(o.start, o);
  const { batchSize, shardSize } = o;
  const augment = o.augment && { ...MILD, ...o.augment };
  return new Job<ClipTrainEvent | WarningEvent, ClipTraining>(async ({ emit, signal }) => {
    await expectNewFolder(o.out);
    const { tokenizer: tokenizerFolder, ...towers } = typeof beginning === 'string' ? await readClip(beginning) : beginning;
    const tokenizer = await loadTokenizer(tokenizerFolder);
    const warn = (message: string): void => emit({ type: 'warning', message });
    const read = async (images: Tensor<'uint8'>, texts: Captions, groups: readonly number[] | undefined, name: string): Promise<Record<string, unknown>> => {
      const [count = 0] = images.shape;
      return { pictures: images, ...(await readCaptions(texts, count, tokenizer, name, warn, signal)), ...(groups && { groups: integerTensor(groups, count, `${name}groups`) }) };
    };
    const data = await read(tensor, captions, o.groups, '');
    const validation = held && (await read(held.tensor, held.captions, held.groups, 'validation.'));
    const textConfig: ClipTextConfig = { vocabSize: tokenizer.vocabSize, maxPositions: tokenizer.length, eosTokenId: tokenizer.eosId, ...towers.text };
    const visionConfig = towers.vision;
    const settings = { ...updateSettings(o), batchSize, shardSize, ...(augment && { augment }) };
    const call = { ...updates, ...towers, batchSize, shardSize, ...(augment && { augment: nativeAugment(augment) }), text: textConfig, vision: visionConfig, data, ...(validation && { validation }) };
    const result = await runNative<ClipTrainEvent, NativeClipResult>((listener) => native().trainClip(call, listener), signal, emit);
    const { weights, training, ...measured } = result;
    await mkdir(dirname(resolve(o.out)), { recursive: true });
    await writeFolderWhole(o.out, (temporary) => writeTowers(temporary, { textConfig, visionConfig, weights, tokenizer, tokenizerFolder, metadata: { logit_scale: String(result.logitScale), 'seedbed.training': JSON.stringify(settings) } }));
    return { folder: o.out, textConfig, visionConfig, ...training, ...measured, settings };
  }, o);
}

type Tower = Pick<ClipTextConfig, 'width' | 'layers' | 'heads' | 'intermediateSize' | 'activation' | 'layerNormEps' | 'projectionDim'>;

/** Sizes of both towers, checked against the pictures. */
function newTowers(o: z.output<typeof schema>, pictures: Tensor): { text: Tower; vision: ClipVisionConfig; tokenizer: string } {
  if (o.tokenizer === undefined) throw new ArgumentError('Expected the folder of a CLIP tokenizer for tokenizer, received nothing');
  const [, height = 0, width = 0] = pictures.shape;
  const vision = schema.shape.vision.unwrap().parse(o.vision ?? {});
  if (width !== height) throw new ArgumentError(`Expected square pictures, received ${width} x ${height}`);
  if (width % vision.patchSize !== 0) throw new ArgumentError(`Expected a divisor of the pictures' side ${width} for vision.patchSize, received ${vision.patchSize}`);
  const complete = (name: string, tower: { width?: number | undefined; layers: number; heads?: number | undefined; intermediateSize?: number | undefined }, defaultWidth: number): Tower => {
    const { width = defaultWidth, layers } = tower;
    const { heads = Math.max(1, Math.floor(width / HEAD_SIZE)), intermediateSize = 4 * width } = tower;
    if (width % heads !== 0) throw new ArgumentError(`Expected a multiple of ${name}.heads ${heads} for ${name}.width, received ${width}`);
    return { width, layers, heads, intermediateSize, activation: 'gelu', layerNormEps: 1e-5, projectionDim: o.projectionDim ?? PROJECTION };
  };
  return {
    text: complete('text', schema.shape.text.unwrap().parse(o.text ?? {}), TEXT_WIDTH),
    vision: { ...complete('vision', vision, VISION_WIDTH), patchSize: vision.patchSize, imageSize: width, channels: 3 },
    tokenizer: o.tokenizer,
  };
}

/** `start`, once nothing is given that it says too. */
function aloneStart(start: string, o: z.output<typeof schema>): string {
  for (const name of ['tokenizer', 'text', 'vision', 'projectionDim'] as const)
    if (o[name] !== undefined) throw new ArgumentError(`Expected either start or ${name}, received both`);
  return start;
}

interface Written {
  textConfig: ClipTextConfig;
  visionConfig: ClipVisionConfig;
  weights: Readonly<Record<string, Tensor>>;
  tokenizer: ClipTokenizer;
  tokenizerFolder: string;
  metadata: Readonly<Record<string, string>>;
}

async function writeTowers(folder: string, { textConfig, visionConfig, weights, tokenizer, tokenizerFolder, metadata }: Written): Promise<void> {
  const named = (beginning: string): Record<string, Tensor> => Object.fromEntries(Object.entries(weights).filter(([name]) => name.startsWith(`${beginning}_`)));
  const writeJson = (path: string, json: Readonly<Record<string, unknown>>): Promise<void> => writeFileWhole(join(folder, path), `${JSON.stringify(json, null, 2)}\n`);
  for (const part of ['text_encoder', 'image_encoder', 'tokenizer', 'feature_extractor']) await mkdir(join(folder, part));
  await writeJson('text_encoder/config.json', { ...clipTextJson(textConfig), bos_token_id: tokenizer.bosId, pad_token_id: tokenizer.padId });
  await writeJson('image_encoder/config.json', clipVisionJson(visionConfig));
  await writeJson('feature_extractor/preprocessor_config.json', preprocessorJson(visionConfig.imageSize));
  writeSafetensors(join(folder, 'text_encoder', 'model.safetensors'), named('text'), { format: 'pt', ...metadata });
  writeSafetensors(join(folder, 'image_encoder', 'model.safetensors'), { ...named('vision'), ...named('visual') }, { format: 'pt', ...metadata });
  for (const name of TOKENIZER_FILES) if (existsSync(join(tokenizerFolder, name))) await copyFile(join(tokenizerFolder, name), join(folder, 'tokenizer', name));
}

/** How transformers brings a picture to what the image tower takes. */
function preprocessorJson(side: number): Record<string, unknown> {
  return {
    image_processor_type: 'CLIPImageProcessor', feature_extractor_type: 'CLIPFeatureExtractor', do_convert_rgb: true, do_resize: true, size: { shortest_edge: side }, resample: BICUBIC,
    do_center_crop: true, crop_size: { height: side, width: side }, do_rescale: true, rescale_factor: 1 / 255, do_normalize: true, image_mean: CLIP_MEAN, image_std: CLIP_STD,
  };
}
