import { z } from 'zod';
import { positiveInt } from '../options.js';
import { expectFit, readFields, type Fields } from './config-fields.js';

const DOWN_BLOCKS = ['CrossAttnDownBlock2D', 'DownBlock2D'] as const;
const UP_BLOCKS = ['CrossAttnUpBlock2D', 'UpBlock2D'] as const;
/** Where the config leaves the size open: that of the first Stable Diffusion models. */
const USUAL_SAMPLE_SIZE = 64;

/** Sizes of a UNet2DConditionModel. */
export interface UnetConfig {
  /** Latent height and width the model was trained at. */
  sampleSize: number;
  inChannels: number;
  outChannels: number;
  downBlockTypes: (typeof DOWN_BLOCKS)[number][];
  upBlockTypes: (typeof UP_BLOCKS)[number][];
  midBlockType: 'UNetMidBlock2DCrossAttn';
  blockOutChannels: number[];
  /** Residual blocks of each level, from the largest picture to the smallest; one more on the way up. */
  layersPerBlock: number[];
  crossAttentionDim: number;
  /** Heads of each level, from the largest picture to the smallest. */
  attentionHeads: number[];
  useLinearProjection: boolean;
  upcastAttention: boolean;
  onlyCrossAttention: false;
  normGroups: number;
  normEps: number;
  actFn: 'silu';
  flipSinToCos: boolean;
  freqShift: number;
  downsamplePadding: number;
  midBlockScaleFactor: number;
}

/** What UNets of Stable Diffusion's layout have in common. `attends`: which levels look at the prompt, from the largest picture to the smallest. */
export function usualUnet(
  attends: readonly boolean[],
): Pick<UnetConfig, 'downBlockTypes' | 'upBlockTypes' | 'midBlockType' | 'onlyCrossAttention' | 'normEps' | 'actFn' | 'flipSinToCos' | 'freqShift' | 'downsamplePadding' | 'midBlockScaleFactor'> {
  return {
    downBlockTypes: attends.map((looks) => (looks ? 'CrossAttnDownBlock2D' : 'DownBlock2D')),
    upBlockTypes: attends.map((looks) => (looks ? ('CrossAttnUpBlock2D' as const) : 'UpBlock2D')).reverse(),
    midBlockType: 'UNetMidBlock2DCrossAttn',
    onlyCrossAttention: false,
    normEps: 1e-5,
    actFn: 'silu',
    flipSinToCos: true,
    freqShift: 0,
    downsamplePadding: 1,
    midBlockScaleFactor: 1,
  };
}

/** A number, or a list of one number for every level. */
const sameNumber = z.union([
  positiveInt,
  z
    .array(positiveInt)
    .min(1)
    .refine((list) => new Set(list).size === 1, 'expected the same number for every level')
    .transform((list) => list[0] as number),
]);

const sampleSize = z
  .union([positiveInt, z.tuple([positiveInt, positiveInt]).refine(([h, w]) => h === w, 'expected a square').transform(([h]) => h)])
  .nullish()
  .transform((size) => size ?? USUAL_SAMPLE_SIZE);

const FIELDS = {
  classes: ['UNet2DConditionModel'],
  used: z.object({
    sample_size: sampleSize,
    in_channels: positiveInt.default(4),
    out_channels: positiveInt.default(4),
    down_block_types: z.array(z.enum(DOWN_BLOCKS)).min(1).default(['CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'DownBlock2D']),
    up_block_types: z.array(z.enum(UP_BLOCKS)).min(1).default(['UpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D']),
    mid_block_type: z.literal('UNetMidBlock2DCrossAttn').default('UNetMidBlock2DCrossAttn'),
    block_out_channels: z.array(positiveInt).min(1).default([320, 640, 1280, 1280]),
    layers_per_block: z.union([positiveInt, z.array(positiveInt)]).default(2),
    cross_attention_dim: sameNumber.default(1280),
    attention_head_dim: z.union([positiveInt, z.array(positiveInt)]).default(8),
    num_attention_heads: z.union([positiveInt, z.array(positiveInt)]).nullish(),
    use_linear_projection: z.boolean().default(false),
    upcast_attention: z
      .boolean()
      .nullish()
      .transform((upcast) => upcast ?? false),
    norm_num_groups: positiveInt.default(32),
    norm_eps: z.number().positive().default(1e-5),
    act_fn: z.enum(['silu', 'swish']).default('silu'), // two names of one function
    flip_sin_to_cos: z.boolean().default(true),
    freq_shift: z.number().default(0),
    downsample_padding: z.int().min(0).max(1).default(1),
    mid_block_scale_factor: z.number().positive().default(1),
  }),
  neutral: {
    center_input_sample: [false],
    only_cross_attention: [false, [false], [false, false], [false, false, false], [false, false, false, false]],
    mid_block_only_cross_attention: [null, false],
    transformer_layers_per_block: [1, [1], [1, 1], [1, 1, 1], [1, 1, 1, 1]],
    reverse_transformer_layers_per_block: [null],
    encoder_hid_dim: [null],
    encoder_hid_dim_type: [null],
    dual_cross_attention: [false],
    class_embed_type: [null],
    addition_embed_type: [null],
    addition_time_embed_dim: [null],
    num_class_embeds: [null],
    resnet_time_scale_shift: ['default'],
    resnet_skip_time_act: [false],
    resnet_out_scale_factor: [1],
    time_embedding_type: ['positional'],
    time_embedding_dim: [null],
    time_embedding_act_fn: [null],
    timestep_post_act: [null],
    time_cond_proj_dim: [null],
    conv_in_kernel: [3],
    conv_out_kernel: [3],
    projection_class_embeddings_input_dim: [null],
    attention_type: ['default'],
    class_embeddings_concat: [false],
    cross_attention_norm: [null],
  },
  harmless: ['dropout', 'addition_embed_type_num_heads'], // the latter belongs to addition_embed_type
} satisfies Fields<z.ZodObject>;

/** The sizes in a diffusers UNet's config.json. Throws `ERR_FILE_FORMAT` naming file, field and value. */
export function parseUnetConfig(value: unknown, path: string): UnetConfig {
  const c = readFields(value, FIELDS, path);
  const levels = c.block_out_channels.length;
  const heads = c.num_attention_heads ?? c.attention_head_dim; // diffusers' attention_head_dim holds the number of heads
  const ofLevels = (value: number | number[]): number[] => (typeof value === 'number' ? new Array<number>(levels).fill(value) : value);
  const [attentionHeads, layersPerBlock] = [ofLevels(heads), ofLevels(c.layers_per_block)];
  const lists = [c.down_block_types.length, c.up_block_types.length, attentionHeads.length, layersPerBlock.length];
  expectFit(
    lists.every((length) => length === levels),
    path,
    `expected as many down_block_types, up_block_types, attention_head_dim and layers_per_block as block_out_channels (${levels}), found ${lists.join(', ')}`,
  );
  for (const [level, channels] of c.block_out_channels.entries()) {
    const count = attentionHeads[level] ?? 1;
    expectFit(channels % c.norm_num_groups === 0, path, `block_out_channels ${channels} is not a multiple of norm_num_groups ${c.norm_num_groups}`);
    expectFit(channels % count === 0, path, `block_out_channels ${channels} is not a multiple of its ${count} heads`);
  }
  return {
    sampleSize: c.sample_size,
    inChannels: c.in_channels,
    outChannels: c.out_channels,
    downBlockTypes: c.down_block_types,
    upBlockTypes: c.up_block_types,
    midBlockType: c.mid_block_type,
    blockOutChannels: c.block_out_channels,
    layersPerBlock,
    crossAttentionDim: c.cross_attention_dim,
    attentionHeads,
    useLinearProjection: c.use_linear_projection,
    upcastAttention: c.upcast_attention,
    onlyCrossAttention: false,
    normGroups: c.norm_num_groups,
    normEps: c.norm_eps,
    actFn: 'silu',
    flipSinToCos: c.flip_sin_to_cos,
    freqShift: c.freq_shift,
    downsamplePadding: c.downsample_padding,
    midBlockScaleFactor: c.mid_block_scale_factor,
  };
}

/** The config.json that diffusers reads. */
export function unetJson(config: UnetConfig): Record<string, unknown> {
  return {
    _class_name: 'UNet2DConditionModel',
    sample_size: config.sampleSize,
    in_channels: config.inChannels,
    out_channels: config.outChannels,
    down_block_types: config.downBlockTypes,
    up_block_types: config.upBlockTypes,
    mid_block_type: config.midBlockType,
    only_cross_attention: config.onlyCrossAttention,
    block_out_channels: config.blockOutChannels,
    layers_per_block: new Set(config.layersPerBlock).size === 1 ? config.layersPerBlock[0] : config.layersPerBlock,
    cross_attention_dim: config.crossAttentionDim,
    attention_head_dim: config.attentionHeads,
    use_linear_projection: config.useLinearProjection,
    upcast_attention: config.upcastAttention,
    norm_num_groups: config.normGroups,
    norm_eps: config.normEps,
    act_fn: config.actFn,
    flip_sin_to_cos: config.flipSinToCos,
    freq_shift: config.freqShift,
    downsample_padding: config.downsamplePadding,
    mid_block_scale_factor: config.midBlockScaleFactor,
  };
}
