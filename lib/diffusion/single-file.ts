import { SeedbedError } from '../errors.js';
import { checkInputChannels, otherArchitecture } from './architectures.js';
import { usualUnet, type ClipTextConfig, type DiffusionConfig, type UnetConfig, type VaeConfig } from './config.js';
import { readSafetensorsHeader, readSmallTensor, type SafetensorsHeader } from './safetensors-header.js';

/** What a single file in the original key layout holds. */
export interface SingleFile {
  path: string;
  /** `sd1`: CLIP's text encoder, 8 heads; `sd2`: OpenCLIP's, heads of 64. */
  family: 'sd1' | 'sd2';
  /** Sizes, taken from the shapes; what shapes do not tell is the family's. */
  config: DiffusionConfig;
  /** A scheduler_config.json as published with the family. */
  scheduler: Record<string, unknown>;
  predictionType: 'epsilon' | 'v_prediction';
  /** How sure that is: said by the file's metadata, read off the weights, or the family's usual one. */
  predictionFrom: 'metadata' | 'weights' | 'family';
  /** What the names of each net's tensors begin with. */
  prefixes: { unet: string; vae: string; textEncoder: string };
}

const UNET = 'model.diffusion_model.';
const VAE = 'first_stage_model.';
const CLIP = 'cond_stage_model.transformer.text_model.';
/** As some older files name it. */
const OLD_CLIP = 'cond_stage_model.transformer.';
const OPEN_CLIP = 'cond_stage_model.model.';
const HEAD_WIDTH = 64;

/** Other models and parts of models, by names that only they have. The first that fits counts. */
const OTHERS: readonly (readonly [string, RegExp])[] = [
  ['LoRA (load a model first, then add it)', /(^lora_(unet|te)|[._]lora_(A|B|down|up)\.|\.lora\.(down|up)\.|^(unet|text_encoder):\d+:(up|down)$)/],
  ['ControlNet', /^control_model\.|controlnet_cond_embedding/],
  ['Stable Diffusion XL model', /^conditioner\.embedders\.|^model\.diffusion_model\.label_emb\./],
  ['FLUX.2 model', /double_stream_modulation_img/],
  ['Flux model', /(^|\.)double_blocks\.\d+\.img_attn|(^|\.)single_transformer_blocks\.\d+\./],
  ['Stable Diffusion 3 model', /(^|\.)joint_blocks\.\d+\./],
  ['PixArt model', /(^|\.)adaln_single\.|(^|\.)scale_shift_table$/],
  ['Stable Cascade model', /(^|\.)clip_txt_(pooled_)?mapper\./],
  ['video model', /(^|\.)(time_stack|time_mixer|motion_modules|temporal_transformer)\b|^(model\.diffusion_model\.)?patch_embedding\.weight$/],
  ['single net of a diffusers folder (give the path of the folder that holds model_index.json)', /^(down_blocks\.\d+|encoder\.down_blocks\.\d+|text_model\.encoder)\./],
  ['VAE alone', /^(first_stage_model\.)?(encoder|decoder)\.conv_in\.weight$/],
];

/**
 * Recognises a single safetensors file by its tensors' names and shapes; reads its header only.
 * Throws `ERR_FILE_FORMAT` naming another model, `ERR_WEIGHTS` when a part is missing, and what reading throws.
 */
export async function recogniseSingleFile(path: string): Promise<SingleFile> {
  const header = await readSafetensorsHeader(path);
  const names = [...header.tensors.keys()];
  const isUnet = names.some((name) => name.startsWith(`${UNET}input_blocks.`));
  const other = OTHERS.find(([what, pattern]) => !(isUnet && what.startsWith('VAE')) && names.some((name) => pattern.test(name)))?.[0];
  if (other !== undefined) throw otherArchitecture(path, other);
  if (!isUnet) throw new SeedbedError('ERR_FILE_FORMAT', `Expected a Stable Diffusion 1.x or 2.x model in '${path}', found ${names.length} tensors of something else${names[0] === undefined ? '' : `, the first '${names[0]}'`}`);

  const shapes = new Shapes(path, header);
  const text = textPrefix(shapes, path);
  const family = text === OPEN_CLIP ? 'sd2' : 'sd1';
  const vae = vaeConfig(shapes, path);
  checkInputChannels(shapes.of(`${UNET}input_blocks.0.0.weight`)[1] as number, vae.latentChannels, path);
  const prediction = await findPrediction(path, header, family);
  const unet = unetConfig(shapes, family, prediction.predictionType);
  const textEncoder = family === 'sd1' ? clipConfig(shapes, text) : openClipConfig(shapes, text);
  return { path, family, config: { unet, vae, textEncoder }, scheduler: schedulerJson(prediction.predictionType), ...prediction, prefixes: { unet: UNET, vae: VAE, textEncoder: text } };
}

/** The shapes in a header, by name. */
class Shapes {
  constructor(
    readonly path: string,
    readonly header: SafetensorsHeader,
  ) {}

  has(name: string): boolean {
    return this.header.tensors.has(name);
  }

  of(name: string): readonly number[] {
    const entry = this.header.tensors.get(name);
    if (entry === undefined) throw new SeedbedError('ERR_WEIGHTS', `Expected a tensor '${name}' in '${this.path}', found none`);
    return entry.shape;
  }

  /** The size of one dimension. */
  at(name: string, dimension: number): number {
    const size = this.of(name)[dimension];
    if (size === undefined || size === 0) throw new SeedbedError('ERR_WEIGHTS', `Expected '${name}' in '${this.path}' to have a dimension ${dimension}, its shape is [${this.of(name).join(', ')}]`);
    return size;
  }

  /** How many of name(0), name(1), ... there are. */
  count(name: (i: number) => string): number {
    let i = 0;
    while (this.has(name(i))) i++;
    return i;
  }
}

function textPrefix(shapes: Shapes, path: string): string {
  if (shapes.has(`${OPEN_CLIP}token_embedding.weight`)) return OPEN_CLIP;
  for (const prefix of [CLIP, OLD_CLIP]) if (shapes.has(`${prefix}embeddings.token_embedding.weight`)) return prefix;
  throw new SeedbedError('ERR_WEIGHTS', `Expected a text encoder (${CLIP}* or ${OPEN_CLIP}*) in '${path}', found none`);
}

function unetConfig(shapes: Shapes, family: 'sd1' | 'sd2', predictionType: SingleFile['predictionType']): UnetConfig {
  const block = (i: number): string => `${UNET}input_blocks.${i}.`;
  const crossAttention = '1.transformer_blocks.0.attn2.to_k.weight';
  const levels: { channels: number; layers: number; attends: boolean }[] = [{ channels: 0, layers: 0, attends: false }];
  let first: string | undefined;
  for (let i = 1; shapes.has(`${block(i)}0.in_layers.2.weight`) || shapes.has(`${block(i)}0.op.weight`); i++) {
    if (shapes.has(`${block(i)}0.op.weight`)) {
      levels.push({ channels: 0, layers: 0, attends: false });
      continue;
    }
    const level = levels.at(-1) as (typeof levels)[number];
    level.channels = shapes.at(`${block(i)}0.in_layers.2.weight`, 0);
    level.layers++;
    level.attends = shapes.has(block(i) + crossAttention);
    if (level.attends) first ??= block(i);
  }
  if (first === undefined) throw new SeedbedError('ERR_WEIGHTS', `Expected attention to the prompt in the UNet of '${shapes.path}', found none`);
  return {
    ...usualUnet(levels.map((level) => level.attends)),
    sampleSize: predictionType === 'v_prediction' && family === 'sd2' ? 96 : 64,
    inChannels: shapes.at(`${UNET}input_blocks.0.0.weight`, 1),
    outChannels: shapes.at(`${UNET}out.2.weight`, 0),
    blockOutChannels: levels.map(({ channels }) => channels),
    layersPerBlock: levels.map(({ layers }) => layers),
    crossAttentionDim: shapes.at(first + crossAttention, 1),
    attentionHeads: levels.map(({ channels }) => (family === 'sd1' ? 8 : Math.max(1, channels / HEAD_WIDTH))),
    useLinearProjection: shapes.of(`${first}1.proj_in.weight`).length === 2,
    upcastAttention: family === 'sd2',
    normGroups: 32,
  };
}

function vaeConfig(shapes: Shapes, path: string): VaeConfig {
  if (!shapes.has(`${VAE}decoder.conv_in.weight`) || !shapes.has(`${VAE}encoder.conv_in.weight`)) throw new SeedbedError('ERR_WEIGHTS', `Expected a VAE (${VAE}*) in '${path}', found none`);
  const block = (level: number, i: number): string => `${VAE}encoder.down.${level}.block.${i}.conv1.weight`;
  const levels = shapes.count((level) => block(level, 0));
  return {
    inChannels: shapes.at(`${VAE}encoder.conv_in.weight`, 1),
    outChannels: shapes.at(`${VAE}decoder.conv_out.weight`, 0),
    latentChannels: shapes.at(`${VAE}decoder.conv_in.weight`, 1),
    blockOutChannels: Array.from({ length: levels }, (_, level) => shapes.at(block(level, 0), 0)),
    layersPerBlock: shapes.count((i) => block(0, i)),
    normGroups: 32,
    scalingFactor: 0.18215,
    sampleSize: 512,
    useQuantConv: shapes.has(`${VAE}quant_conv.weight`),
    usePostQuantConv: shapes.has(`${VAE}post_quant_conv.weight`),
    midBlockAddAttention: shapes.has(`${VAE}decoder.mid.attn_1.q.weight`),
    forceUpcast: true,
  };
}

/** As published configs have it: the largest id of a text. */
const EOS_TOKEN = 2;

function clipConfig(shapes: Shapes, prefix: string): ClipTextConfig {
  const width = shapes.at(`${prefix}embeddings.token_embedding.weight`, 1);
  return {
    vocabSize: shapes.at(`${prefix}embeddings.token_embedding.weight`, 0),
    width,
    intermediateSize: shapes.at(`${prefix}encoder.layers.0.mlp.fc1.weight`, 0),
    layers: shapes.count((i) => `${prefix}encoder.layers.${i}.mlp.fc1.weight`),
    heads: Math.max(1, width / HEAD_WIDTH),
    maxPositions: shapes.at(`${prefix}embeddings.position_embedding.weight`, 0),
    activation: 'quick_gelu',
    layerNormEps: 1e-5,
    eosTokenId: EOS_TOKEN,
  };
}

function openClipConfig(shapes: Shapes, prefix: string): ClipTextConfig {
  const width = shapes.at(`${prefix}token_embedding.weight`, 1);
  return {
    vocabSize: shapes.at(`${prefix}token_embedding.weight`, 0),
    width,
    intermediateSize: shapes.at(`${prefix}transformer.resblocks.0.mlp.c_fc.weight`, 0),
    layers: shapes.count((i) => `${prefix}transformer.resblocks.${i}.mlp.c_fc.weight`) - 1, // the last block is in the file and not used
    heads: Math.max(1, width / HEAD_WIDTH),
    maxPositions: shapes.at(`${prefix}positional_embedding`, 0),
    activation: 'gelu',
    layerNormEps: 1e-5,
    eosTokenId: EOS_TOKEN,
  };
}

/** A norm's bias whose spread tells the two kinds of 2.x models apart, and the border between them; an observation. */
const TELLTALE = `${UNET}output_blocks.11.1.transformer_blocks.0.norm1.bias`;
const TELLTALE_SPREAD = 0.09;

async function findPrediction(path: string, header: SafetensorsHeader, family: 'sd1' | 'sd2'): Promise<Pick<SingleFile, 'predictionType' | 'predictionFrom'>> {
  const { 'modelspec.prediction_type': said, 'modelspec.architecture': architecture } = header.metadata;
  if (header.tensors.has('v_pred') || said === 'v' || said === 'v_prediction' || /-v$/.test(architecture?.split('/')[0] ?? '')) return { predictionType: 'v_prediction', predictionFrom: 'metadata' };
  if (said === 'epsilon') return { predictionType: 'epsilon', predictionFrom: 'metadata' };
  const values = family === 'sd2' ? await readSmallTensor(path, header, TELLTALE) : undefined;
  if (values === undefined || values.length === 0) return { predictionType: 'epsilon', predictionFrom: 'family' };
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const spread = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
  return { predictionType: spread > TELLTALE_SPREAD ? 'v_prediction' : 'epsilon', predictionFrom: 'weights' };
}

function schedulerJson(predictionType: SingleFile['predictionType']): Record<string, unknown> {
  return {
    _class_name: 'PNDMScheduler',
    beta_start: 0.00085,
    beta_end: 0.012,
    beta_schedule: 'scaled_linear',
    clip_sample: false, // of latents, whichever sampler is chosen
    num_train_timesteps: 1000,
    prediction_type: predictionType,
    set_alpha_to_one: false,
    skip_prk_steps: true,
    steps_offset: 1,
    timestep_spacing: 'leading',
  };
}
