import { z } from 'zod';
import { positiveInt } from '../options.js';
import { expectFit, readFields, type Fields } from './config-fields.js';

/** Sizes of an AutoencoderKL. */
export interface VaeConfig {
  inChannels: number;
  outChannels: number;
  latentChannels: number;
  blockOutChannels: number[];
  layersPerBlock: number;
  normGroups: number;
  /** latents = (encoded - shift) * scaling. */
  scalingFactor: number;
  shiftFactor?: number;
  /** Pixel height and width the model was trained at. */
  sampleSize: number;
  useQuantConv: boolean;
  usePostQuantConv: boolean;
  midBlockAddAttention: boolean;
  /** Needs float32: overflows in half precision. */
  forceUpcast: boolean;
}

const FIELDS = {
  classes: ['AutoencoderKL'],
  used: z.object({
    in_channels: positiveInt.default(3),
    out_channels: positiveInt.default(3),
    latent_channels: positiveInt.default(4),
    down_block_types: z.array(z.literal('DownEncoderBlock2D')).min(1).default(['DownEncoderBlock2D']),
    up_block_types: z.array(z.literal('UpDecoderBlock2D')).min(1).default(['UpDecoderBlock2D']),
    block_out_channels: z.array(positiveInt).min(1).default([64]),
    layers_per_block: positiveInt.default(1),
    norm_num_groups: positiveInt.default(32),
    scaling_factor: z.number().positive().default(0.18215),
    shift_factor: z.number().nullish(),
    sample_size: z.union([positiveInt, z.tuple([positiveInt, positiveInt]).transform(([height]) => height)]).default(32),
    use_quant_conv: z.boolean().default(true),
    use_post_quant_conv: z.boolean().default(true),
    mid_block_add_attention: z.boolean().default(true),
    force_upcast: z
      .boolean()
      .nullish()
      .transform((upcast) => upcast ?? true),
  }),
  neutral: { act_fn: ['silu', 'swish'], latents_mean: [null], latents_std: [null] },
  harmless: [],
} satisfies Fields<z.ZodObject>;

/** The sizes in a diffusers VAE's config.json. Throws `ERR_FILE_FORMAT` naming file, field and value. */
export function parseVaeConfig(value: unknown, path: string): VaeConfig {
  const c = readFields(value, FIELDS, path);
  const levels = c.block_out_channels.length;
  const lists = [c.down_block_types.length, c.up_block_types.length];
  expectFit(
    lists.every((length) => length === levels),
    path,
    `expected as many down_block_types and up_block_types as block_out_channels (${levels}), found ${lists.join(', ')}`,
  );
  for (const channels of c.block_out_channels) expectFit(channels % c.norm_num_groups === 0, path, `block_out_channels ${channels} is not a multiple of norm_num_groups ${c.norm_num_groups}`);
  return {
    inChannels: c.in_channels,
    outChannels: c.out_channels,
    latentChannels: c.latent_channels,
    blockOutChannels: c.block_out_channels,
    layersPerBlock: c.layers_per_block,
    normGroups: c.norm_num_groups,
    scalingFactor: c.scaling_factor,
    ...(typeof c.shift_factor === 'number' && { shiftFactor: c.shift_factor }),
    sampleSize: c.sample_size,
    useQuantConv: c.use_quant_conv,
    usePostQuantConv: c.use_post_quant_conv,
    midBlockAddAttention: c.mid_block_add_attention,
    forceUpcast: c.force_upcast,
  };
}

/** The config.json that diffusers reads. */
export function vaeJson(config: VaeConfig): Record<string, unknown> {
  return {
    _class_name: 'AutoencoderKL',
    in_channels: config.inChannels,
    out_channels: config.outChannels,
    latent_channels: config.latentChannels,
    down_block_types: config.blockOutChannels.map(() => 'DownEncoderBlock2D'),
    up_block_types: config.blockOutChannels.map(() => 'UpDecoderBlock2D'),
    block_out_channels: config.blockOutChannels,
    layers_per_block: config.layersPerBlock,
    act_fn: 'silu',
    norm_num_groups: config.normGroups,
    scaling_factor: config.scalingFactor,
    shift_factor: config.shiftFactor ?? null,
    sample_size: config.sampleSize,
    use_quant_conv: config.useQuantConv,
    use_post_quant_conv: config.usePostQuantConv,
    mid_block_add_attention: config.midBlockAddAttention,
    force_upcast: config.forceUpcast,
  };
}
