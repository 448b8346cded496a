import { z } from 'zod';
import { positiveInt } from '../options.js';
import { expectFit, readFields, type Fields } from './config-fields.js';

/** Of pixels in [0, 1], as every published CLIP takes them. */
export const CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073] as const;
export const CLIP_STD = [0.26862954, 0.26130258, 0.27577711] as const;

/** Sizes of a CLIPTextModel, or a CLIPTextModelWithProjection when `projectionDim` is there. */
export interface ClipTextConfig {
  vocabSize: number;
  width: number;
  intermediateSize: number;
  layers: number;
  heads: number;
  maxPositions: number;
  activation: 'quick_gelu' | 'gelu';
  layerNormEps: number;
  projectionDim?: number;
  /** The token whose output is pooled. 2 stands for the largest id, as in transformers: older configs state it wrongly. */
  eosTokenId: number;
}

/** Sizes of a CLIPVisionModel, or a CLIPVisionModelWithProjection when `projectionDim` is there. */
export interface ClipVisionConfig {
  width: number;
  intermediateSize: number;
  layers: number;
  heads: number;
  imageSize: number;
  patchSize: number;
  channels: number;
  activation: 'quick_gelu' | 'gelu';
  layerNormEps: number;
  projectionDim?: number;
}

const tower = {
  architectures: z.array(z.string()).nullish(),
  intermediate_size: positiveInt,
  num_hidden_layers: positiveInt.default(12),
  hidden_act: z.enum(['quick_gelu', 'gelu']).default('quick_gelu'),
  layer_norm_eps: z.number().positive().default(1e-5),
  projection_dim: positiveInt.default(512),
};

/** Fields that transformers writes for every kind of model: dropout, initial values, generation of text, labels, form of outputs. */
const HARMLESS = [
  ...['attention_dropout', 'dropout', 'initializer_factor', 'initializer_range', 'bos_token_id', 'pad_token_id', 'sep_token_id', 'decoder_start_token_id'],
  ...['dtype', 'torch_dtype', 'transformers_version', 'torchscript', 'use_bfloat16', 'tf_legacy_loss', 'use_cache', 'gradient_checkpointing', 'attn_implementation'],
  ...['return_dict', 'output_hidden_states', 'output_attentions', 'chunk_size_feed_forward', 'name_or_path', 'tokenizer_class', 'prefix', 'finetuning_task'],
  ...['id2label', 'label2id', 'num_labels', 'problem_type', 'task_specific_params', 'tie_word_embeddings', 'tie_encoder_decoder', 'cross_attention_hidden_size'],
  ...['max_length', 'min_length', 'do_sample', 'early_stopping', 'num_beams', 'num_beam_groups', 'diversity_penalty', 'temperature', 'top_k', 'top_p', 'typical_p'],
  ...['repetition_penalty', 'length_penalty', 'no_repeat_ngram_size', 'encoder_no_repeat_ngram_size', 'bad_words_ids', 'num_return_sequences', 'output_scores'],
  ...['return_dict_in_generate', 'forced_bos_token_id', 'forced_eos_token_id', 'remove_invalid_values', 'exponential_decay_length_penalty', 'suppress_tokens'],
  ...['begin_suppress_tokens'],
];
const NEUTRAL = { is_encoder_decoder: [false], is_decoder: [false], add_cross_attention: [false], pruned_heads: [{}], quantization_config: [null] };

const TEXT = {
  classes: ['CLIPTextModel', 'CLIPTextModelWithProjection'],
  used: z.object({
    ...tower,
    vocab_size: positiveInt.default(49408),
    hidden_size: positiveInt.default(512),
    intermediate_size: positiveInt.default(2048),
    num_attention_heads: positiveInt.default(8),
    max_position_embeddings: positiveInt.default(77),
    eos_token_id: z.int().min(0).default(49407),
  }),
  neutral: { ...NEUTRAL, model_type: ['clip_text_model'] },
  harmless: HARMLESS,
} satisfies Fields<z.ZodObject>;

const square = z.union([positiveInt, z.tuple([positiveInt, positiveInt]).refine(([h, w]) => h === w, 'expected a square').transform(([h]) => h)]);

const VISION = {
  classes: ['CLIPVisionModel', 'CLIPVisionModelWithProjection'],
  used: z.object({
    ...tower,
    hidden_size: positiveInt.default(768),
    intermediate_size: positiveInt.default(3072),
    num_attention_heads: positiveInt.default(12),
    image_size: square.default(224),
    patch_size: square.default(32),
    num_channels: positiveInt.default(3),
  }),
  neutral: { ...NEUTRAL, model_type: ['clip_vision_model'] },
  harmless: [...HARMLESS, 'eos_token_id'],
} satisfies Fields<z.ZodObject>;

const projects = (architectures: readonly string[] | null | undefined): boolean => architectures?.some((name) => name.endsWith('WithProjection')) ?? false;

/** What both towers have, under our names. */
function layersOf(c: z.output<typeof TEXT.used> | z.output<typeof VISION.used>, path: string): Omit<ClipTextConfig, 'vocabSize' | 'maxPositions' | 'eosTokenId'> {
  expectFit(c.hidden_size % c.num_attention_heads === 0, path, `hidden_size ${c.hidden_size} is not a multiple of its ${c.num_attention_heads} heads`);
  return {
    width: c.hidden_size,
    intermediateSize: c.intermediate_size,
    layers: c.num_hidden_layers,
    heads: c.num_attention_heads,
    activation: c.hidden_act,
    layerNormEps: c.layer_norm_eps,
    ...(projects(c.architectures) && { projectionDim: c.projection_dim }),
  };
}

/** The sizes in a text encoder's config.json. Throws `ERR_FILE_FORMAT` naming file, field and value. */
export function parseClipTextConfig(value: unknown, path: string): ClipTextConfig {
  const c = readFields(value, TEXT, path);
  return { ...layersOf(c, path), vocabSize: c.vocab_size, maxPositions: c.max_position_embeddings, eosTokenId: c.eos_token_id };
}

/** The sizes in an image encoder's config.json. Throws `ERR_FILE_FORMAT` naming file, field and value. */
export function parseClipVisionConfig(value: unknown, path: string): ClipVisionConfig {
  const c = readFields(value, VISION, path);
  return { ...layersOf(c, path), imageSize: c.image_size, patchSize: c.patch_size, channels: c.num_channels };
}

/** The config.json that transformers reads. */
export function clipTextJson(config: ClipTextConfig): Record<string, unknown> {
  return {
    architectures: [config.projectionDim === undefined ? 'CLIPTextModel' : 'CLIPTextModelWithProjection'],
    model_type: 'clip_text_model',
    vocab_size: config.vocabSize,
    max_position_embeddings: config.maxPositions,
    eos_token_id: config.eosTokenId,
    ...towerJson(config),
  };
}

/** The config.json that transformers reads. */
export function clipVisionJson(config: ClipVisionConfig): Record<string, unknown> {
  return {
    architectures: [config.projectionDim === undefined ? 'CLIPVisionModel' : 'CLIPVisionModelWithProjection'],
    model_type: 'clip_vision_model',
    image_size: config.imageSize,
    patch_size: config.patchSize,
    num_channels: config.channels,
    ...towerJson(config),
  };
}

function towerJson(config: ClipTextConfig | ClipVisionConfig): Record<string, unknown> {
  return {
    hidden_size: config.width,
    intermediate_size: config.intermediateSize,
    num_hidden_layers: config.layers,
    num_attention_heads: config.heads,
    hidden_act: config.activation,
    layer_norm_eps: config.layerNormEps,
    ...(config.projectionDim !== undefined && { projection_dim: config.projectionDim }),
  };
}
