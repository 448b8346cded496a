import type { ClipTextConfig, UnetConfig } from '../diffusion/config.js';

/** A layer that an adapter may change: its name as diffusers' / transformers' modules have it, and the weight's shape as stored. */
export interface LoraSite {
  name: string;
  /** Linear [out, in]; convolution [out, in, k, k]. */
  shape: readonly number[];
}

export interface LoraSites {
  unet: readonly LoraSite[];
  textEncoder: readonly LoraSite[];
}

/** The sizes that the layers follow from. */
type UnetSizes = Pick<UnetConfig, 'inChannels' | 'outChannels' | 'downBlockTypes' | 'upBlockTypes' | 'blockOutChannels' | 'layersPerBlock' | 'crossAttentionDim' | 'useLinearProjection'>;
type TextSizes = Pick<ClipTextConfig, 'layers' | 'width' | 'intermediateSize'>;

const site = (name: string, ...shape: number[]): LoraSite => ({ name, shape });

/** Channels of the hidden layer of a transformer's or CLIP's perceptron, and of the time embedding, per channel of its input. */
const WIDENING = 4;

/** Every linear layer and convolution of a UNet, from its sizes alone, in the order of diffusers' modules: down, up, middle. */
export function unetSites(config: UnetSizes): LoraSite[] {
  const channels = config.blockOutChannels;
  const levels = channels.length;
  const width = (level: number): number => channels[Math.min(Math.max(level, 0), levels - 1)] as number;
  const first = width(0);
  const time = WIDENING * first;

  const resnet = (name: string, inChannels: number, outChannels: number): LoraSite[] => [
    site(`${name}.conv1`, outChannels, inChannels, 3, 3),
    site(`${name}.time_emb_proj`, outChannels, time),
    site(`${name}.conv2`, outChannels, outChannels, 3, 3),
    ...(inChannels === outChannels ? [] : [site(`${name}.conv_shortcut`, outChannels, inChannels, 1, 1)]),
  ];
  const projection = (name: string, c: number): LoraSite => (config.useLinearProjection ? site(name, c, c) : site(name, c, c, 1, 1));
  const attention = (name: string, c: number, context: number): LoraSite[] => [
    site(`${name}.to_q`, c, c),
    site(`${name}.to_k`, c, context),
    site(`${name}.to_v`, c, context),
    site(`${name}.to_out.0`, c, c),
  ];
  const transformer = (name: string, c: number): LoraSite[] => {
    const block = `${name}.transformer_blocks.0`;
    return [
      projection(`${name}.proj_in`, c),
      ...attention(`${block}.attn1`, c, c),
      ...attention(`${block}.attn2`, c, config.crossAttentionDim),
      site(`${block}.ff.net.0.proj`, 2 * WIDENING * c, c), // value and gate
      site(`${block}.ff.net.2`, c, WIDENING * c),
      projection(`${name}.proj_out`, c),
    ];
  };
  const times = <T>(count: number, make: (i: number) => T[]): T[] => Array.from({ length: count }, (_, i) => make(i)).flat();

  const layersOf = (level: number): number => config.layersPerBlock[level] as number;

  const down = times(levels, (i) => {
    const [block, c, layers] = [`down_blocks.${i}`, width(i), layersOf(i)];
    return [
      ...(config.downBlockTypes[i] === 'CrossAttnDownBlock2D' ? times(layers, (j) => transformer(`${block}.attentions.${j}`, c)) : []),
      ...times(layers, (j) => resnet(`${block}.resnets.${j}`, j === 0 && i > 0 ? width(i - 1) : j === 0 ? first : c, c)),
      ...(i < levels - 1 ? [site(`${block}.downsamplers.0.conv`, c, c, 3, 3)] : []),
    ];
  });
  const up = times(levels, (i) => {
    const [block, c] = [`up_blocks.${i}`, width(levels - 1 - i)];
    const below = width(levels - i); // what comes from the block before; itself in the first
    const layers = layersOf(levels - 1 - i) + 1;
    // Each layer takes what the layer before gave beside what the way down left: the last one that of the next larger level.
    const inChannels = (j: number): number => (j === 0 ? below : c) + (j === layers - 1 ? width(levels - 2 - i) : c);
    return [
      ...(config.upBlockTypes[i] === 'CrossAttnUpBlock2D' ? times(layers, (j) => transformer(`${block}.attentions.${j}`, c)) : []),
      ...times(layers, (j) => resnet(`${block}.resnets.${j}`, inChannels(j), c)),
      ...(i < levels - 1 ? [site(`${block}.upsamplers.0.conv`, c, c, 3, 3)] : []),
    ];
  });
  const middle = width(levels - 1);
  return [
    site('conv_in', first, config.inChannels, 3, 3),
    site('time_embedding.linear_1', time, first),
    site('time_embedding.linear_2', time, time),
    ...down,
    ...up,
    ...transformer('mid_block.attentions.0', middle),
    ...times(2, (j) => resnet(`mid_block.resnets.${j}`, middle, middle)),
    site('conv_out', config.outChannels, first, 3, 3),
  ];
}

/** Every linear layer in the blocks of a CLIP text encoder, in the order of transformers' modules. */
export function textSites({ layers, width, intermediateSize }: TextSizes): LoraSite[] {
  return Array.from({ length: layers }, (_, i) => {
    const layer = `text_model.encoder.layers.${i}`;
    return [
      ...['k_proj', 'v_proj', 'q_proj', 'out_proj'].map((name) => site(`${layer}.self_attn.${name}`, width, width)),
      site(`${layer}.mlp.fc1`, intermediateSize, width),
      site(`${layer}.mlp.fc2`, width, intermediateSize),
    ];
  }).flat();
}

export type LoraFamily = 'sd1' | 'sd2';

const FAMILIES: Readonly<Record<LoraFamily, { unet: Pick<UnetSizes, 'crossAttentionDim' | 'useLinearProjection'>; text: TextSizes }>> = {
  sd1: { unet: { crossAttentionDim: 768, useLinearProjection: false }, text: { layers: 12, width: 768, intermediateSize: 3072 } },
  sd2: { unet: { crossAttentionDim: 1024, useLinearProjection: true }, text: { layers: 23, width: 1024, intermediateSize: 4096 } },
};

const COMMON: Omit<UnetSizes, 'crossAttentionDim' | 'useLinearProjection'> = {
  inChannels: 4,
  outChannels: 4,
  downBlockTypes: ['CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'DownBlock2D'],
  upBlockTypes: ['UpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D'],
  blockOutChannels: [320, 640, 1280, 1280],
  layersPerBlock: [2, 2, 2, 2],
};

/** The layers of published Stable Diffusion 1.x and 2.x models, for work without a model. */
export function knownSites(family: LoraFamily): LoraSites {
  const { unet, text } = FAMILIES[family];
  return { unet: unetSites({ ...COMMON, ...unet }), textEncoder: textSites(text) };
}
