import { z } from 'zod';
import { positiveInt } from './options.js';

/**
 * Architectures by name. The first three vision transformers, `resnet50` and `resnet18` are timm's; the others are the same designs for small pictures:
 * `resnet18_32` is ResNet-18 with a 3 x 3 stem without pooling, `resnet_nano_32` the same a quarter as wide (0.7 million parameters).
 */
export const MODEL_NAMES = [
  'vit_base_patch16_224',
  'vit_small_patch16_224',
  'vit_tiny_patch16_224',
  'vit_tiny_patch8_64',
  'vit_mini_patch8_64',
  'vit_mini_patch4_32',
  'vit_nano_patch4_32',
  'vit_micro_patch4_32',
  'resnet50',
  'resnet18',
  'resnet18_32',
  'resnet_nano_32',
] as const;

export type ModelName = (typeof MODEL_NAMES)[number];

const vitSchema = z.strictObject({
  type: z.literal('vit').optional(),
  /** Pixels, both sides; a multiple of `patchSize`. */
  imageSize: positiveInt,
  patchSize: positiveInt,
  /** Token width, a multiple of `heads`. */
  width: positiveInt,
  /** Blocks. */
  depth: positiveInt,
  heads: positiveInt,
  /** Hidden width of the MLP over `width`. Default 4. */
  mlpRatio: positiveInt.optional(),
});

const resnetSchema = z.strictObject({
  type: z.literal('resnet'),
  /** Pixels, both sides. Default 224. */
  imageSize: positiveInt.optional(),
  /** `basic`: two 3 x 3 convolutions; `bottleneck`: 1 x 1, 3 x 3, 1 x 1, four times as wide behind. Default basic. */
  block: z.enum(['basic', 'bottleneck']).optional(),
  /** Blocks of the four stages. Default [2, 2, 2, 2]. */
  layers: z.tuple([positiveInt, positiveInt, positiveInt, positiveInt]).readonly().optional(),
  /** Channels of the stem and of the first stage's 3 x 3 convolutions; doubles with each stage. Default 64. */
  width: positiveInt.optional(),
  /** `large`: 7 x 7 of stride 2 and pooling; `small`: 3 x 3 of stride 1, for pictures of about 32 pixels. Default large. */
  stem: z.enum(['large', 'small']).optional(),
});

/** A ResNet, or without a type a vision transformer, by its sizes. */
export const modelSchema = z.discriminatedUnion('type', [vitSchema, resnetSchema]);

export type ModelConfig = z.input<typeof modelSchema>;
