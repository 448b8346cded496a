import type { LoraFamily, LoraSites } from './sites.js';

/** The model that an adapter was made for, as far as its keys and shapes tell. */
export interface LoraBase {
  name: string;
  /** Undefined for models that are not ours. */
  family?: LoraFamily;
}

type Shapes = ReadonlyMap<string, { readonly shape: readonly number[] }>;

/** Adapters of other models, by keys that only they have; the first that fits counts. */
const OTHER_MODELS: readonly (readonly [name: string, pattern: RegExp])[] = [
  ['Stable Diffusion 3', /joint_blocks[._]/],
  ['a transformer model (Flux, Stable Diffusion 3, ...)', /^(lora_)?transformer[._]|(double|single)_(transformer_)?blocks[._]/],
  ['Stable Diffusion XL', /^lora_te2_|^text_encoder_2\.|[._]transformer_blocks[._][1-9]\d*[._].*attn|add_embedding|label_emb/],
  ['a video model', /motion_modules|temporal_transformer|(^|[._])blocks[._]\d+[._](self|cross)_attn/],
];

/** Widths of the prompt's states, by which the models of one layout differ. */
const WIDTHS: Readonly<Record<number, LoraBase>> = {
  768: { name: 'Stable Diffusion 1.x', family: 'sd1' },
  1024: { name: 'Stable Diffusion 2.x', family: 'sd2' },
  2048: { name: 'Stable Diffusion XL' },
};

/** Layers that read the prompt: keys and values of cross-attention; in a list without names the seventh of a block is one of them. */
const READS_PROMPT = /(attn2[._](processor\.)?to_[kv](_lora)?\.(lora\.|lora_)?(down|A)\b)|^unet:6:down$/;
const TEXT_ATTENTION = /self_attn[._](q_proj|k_proj|v_proj|to_[qkv])(_lora)?\.(lora_linear_layer\.|lora\.|lora_)?(down|A)\b|^text_encoder:0:down$/;

/** Width of the prompt that a file's tensors expect. */
export function promptWidth(tensors: Shapes): number | undefined {
  let text: number | undefined;
  for (const [name, { shape }] of tensors) {
    if (READS_PROMPT.test(name)) return shape[1];
    if (TEXT_ATTENTION.test(name)) text = shape[1];
  }
  return text;
}

/** Another kind of model, when the keys say so. */
export const otherModel = (names: Iterable<string>): string | undefined => {
  const all = [...names];
  return OTHER_MODELS.find(([, pattern]) => all.some((name) => pattern.test(name)))?.[0];
};

/** What a file was made for; undefined when neither keys nor shapes tell. */
export function baseOf(tensors: Shapes): LoraBase | undefined {
  const name = otherModel(tensors.keys());
  return name === undefined ? baseOfWidth(promptWidth(tensors)) : { name };
}

export const baseOfWidth = (width: number | undefined): LoraBase | undefined => (width === undefined ? undefined : WIDTHS[width]);

/** Width of the prompt that a model's layers read. */
export const promptWidthOf = ({ unet, textEncoder }: LoraSites): number | undefined =>
  unet.find(({ name }) => name.endsWith('attn2.to_k'))?.shape[1] ?? textEncoder.find(({ name }) => name.endsWith('q_proj'))?.shape[1];
