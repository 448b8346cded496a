import type { LoraPart } from './lora.js';
import type { LoraSite, LoraSites } from './sites.js';

/** Kinds of files, by how they name layers; letters of docs/lora.md. */
export const LORA_FORMATS = ['diffusers', 'diffusers-old', 'diffusers-peft', 'peft', 'kohya', 'cloneofsimo', 'textual-inversion'] as const;
export type LoraFormat = (typeof LORA_FORMATS)[number];

export type LoraRole = 'down' | 'up' | 'alpha';

/** What a key of a file stands for. */
export interface LoraKey {
  part: LoraPart;
  site: LoraSite;
  role: LoraRole;
}

/** Finds what a key stands for; undefined when it fits no layer. */
export type Locate = (key: string) => LoraKey | undefined;

/** The first that fits counts. */
const SIGNS: readonly (readonly [LoraFormat, RegExp])[] = [
  ['cloneofsimo', /^(unet|text_encoder):\d+:(down|up)$/],
  ['kohya', /^lora_(unet|te\d?)_/],
  ['peft', /^base_model\.model\./],
  ['diffusers-old', /\.processor\.|\.to_(q|k|v|out)_lora\.(down|up)\./],
  ['diffusers', /\.lora_linear_layer\.(down|up)\.|\.lora\.(down|up)\./],
  ['diffusers-peft', /\.lora_[AB]\./],
];

/** The format of a file, by its keys. */
export function detectFormat(names: readonly string[]): LoraFormat | undefined {
  return SIGNS.find(([, sign]) => names.some((name) => sign.test(name)))?.[0];
}

/** Adapters that change weights in another way, by keys that only they have; the first that fits counts. */
const OTHER_KINDS: readonly (readonly [name: string, pattern: RegExp])[] = [
  ['DoRA', /\.dora_scale$|lora_magnitude_vector/],
  ['LoHa', /\.hada_/],
  ['LoKr', /[._]lokr_/],
  ['GLoRA', /\.(a1|a2|b1|b2|bm1|bm2)\.weight$/],
  ['IA3', /\.on_input$|\.ia3_l$|\.ia3_l\./],
  ['OFT', /[._]b?oft_/],
  ['VeRA', /\.vera_lambda/],
  ['LoRA with Tucker decomposition', /\.lora_mid\./],
  ['LoRA with biases', /\.lora_(B|up)\.bias$/],
  ['LoRA of embeddings', /\.lora_embedding_[AB]/],
  ['full difference of weights', /\.diff(_b)?$/],
];

/** The kind of adapter that is not built, if its keys are there. */
export const otherKind = (names: readonly string[]): string | undefined => OTHER_KINDS.find(([, pattern]) => names.some((name) => pattern.test(name)))?.[0];

const PARTS: Readonly<Record<string, LoraPart>> = { unet: 'unet', text_encoder: 'textEncoder', lora_unet: 'unet', lora_te: 'textEncoder', lora_te1: 'textEncoder' };
const ROLES: Readonly<Record<string, LoraRole>> = { down: 'down', lora_down: 'down', lora_A: 'down', up: 'up', lora_up: 'up', lora_B: 'up', alpha: 'alpha' };

type Sites = ReadonlyMap<string, LoraSite>;
const table = (sites: readonly LoraSite[], keyOf: (name: string) => string = (name) => name): Sites => new Map(sites.map((site) => [keyOf(site.name), site]));

/** What finds the keys of a format among a model's layers. `classes` are the classes of layers that a list without names counts. */
export function locator(format: LoraFormat, sites: LoraSites, classes: Partial<Record<LoraPart, readonly string[]>> = {}): Locate {
  switch (format) {
    case 'kohya':
      return kohya(sites);
    case 'cloneofsimo':
      return positional(sites, classes);
    case 'diffusers':
    case 'diffusers-old':
    case 'diffusers-peft':
    case 'peft':
      return dotted(sites);
    case 'textual-inversion':
      return () => undefined;
    default:
      return format satisfies never;
  }
}

/** The end of a key in each of the forms with dots, and what it says: `.to_q.lora_A.default.weight`, `.to_q_lora.down.weight`. */
const DOTTED = /^(.*?)(?:\.lora_linear_layer|\.lora|(_lora))?\.(down|up|lora_A|lora_B|lora_down|lora_up|alpha)(?:\.default)?(?:\.weight)?$/;
const OLD_TEXT: Readonly<Record<string, string>> = { to_q: 'q_proj', to_k: 'k_proj', to_v: 'v_proj', to_out: 'out_proj' };

/** diffusers (new, old), and PEFT: the modules' own names. Old files may lack the part's name. */
function dotted(sites: LoraSites): Locate {
  const tables: Record<LoraPart, Sites> = { unet: table(sites.unet), textEncoder: table(sites.textEncoder) };
  return (key) => {
    const [, path = '', old, role = ''] = DOTTED.exec(key.replace('base_model.model.', '').replace('.processor.', '.')) ?? [];
    const [first = ''] = path.split('.');
    const named = first === 'unet' || first === 'text_encoder' ? PARTS[first] : undefined;
    const module = named === undefined ? path : path.slice(first.length + 1);
    for (const part of named === undefined ? (['unet', 'textEncoder'] as const) : [named]) {
      const site = nameVariants(module, part, old !== undefined).map((name) => tables[part].get(name)).find((found) => found !== undefined);
      if (site !== undefined) return { part, site, role: ROLES[role] as LoraRole };
    }
    return undefined;
  };
}

/** The names that a module may have in the model. */
function nameVariants(module: string, part: LoraPart, old: boolean): string[] {
  if (part === 'unet') return [old && module.endsWith('.to_out') ? `${module}.0` : module];
  const name = old ? module.replace(/\bto_(q|k|v|out)$/, (last) => OLD_TEXT[last] as string) : module;
  return [name, `text_model.${name}`];
}

const KOHYA = /^(lora_unet|lora_te1?)_(.*?)\.(lora_down|lora_up|alpha)(?:\.weight)?$/;

export const flattened = (name: string): string => name.replaceAll('.', '_');

/** kohya: the modules' names with every dot an underscore, which only a table of the model's names undoes; UNets also in the original layout's names. */
function kohya(sites: LoraSites): Locate {
  const layout = originalLayout(sites.unet);
  const tables: Record<LoraPart, Sites> = {
    unet: new Map([...table(sites.unet, (name) => flattened(originalName(name, layout))), ...table(sites.unet, flattened)]),
    textEncoder: table(sites.textEncoder, flattened),
  };
  return (key) => {
    const [, prefix = '', flat = '', role = ''] = KOHYA.exec(key) ?? [];
    const part = PARTS[prefix];
    const site = part === undefined ? undefined : tables[part].get(flat);
    return part === undefined || site === undefined ? undefined : { part, site, role: ROLES[role] as LoraRole };
  };
}

/** What the original layout's numbers follow from: layers in a block on the way down, and the blocks on the way up that attend. */
export interface OriginalLayout {
  layers: number;
  attending: ReadonlySet<number>;
}

export function originalLayout(unet: readonly LoraSite[]): OriginalLayout {
  const layers = unet.filter(({ name }) => /^down_blocks\.0\.resnets\.\d+\.conv1$/.test(name)).length;
  const attending = unet.flatMap(({ name }) => /^up_blocks\.(\d+)\.attentions\./.exec(name)?.[1] ?? []);
  return { layers, attending: new Set(attending.map(Number)) };
}

const RESNET: Readonly<Record<string, string>> = { conv1: 'in_layers.2', time_emb_proj: 'emb_layers.1', conv2: 'out_layers.3', conv_shortcut: 'skip_connection' };
const ENDS: Readonly<Record<string, string>> = { conv_in: 'input_blocks.0.0', conv_out: 'out.2', 'time_embedding.linear_1': 'time_embed.0', 'time_embedding.linear_2': 'time_embed.2' };

/** The name of a UNet's layer in the original layout, where blocks are counted through: input_blocks.4.1.proj_in. */
export function originalName(name: string, { layers, attending }: OriginalLayout): string {
  const [, block = '', level = '0', kind = '', index = '0', rest = ''] = /^(down_blocks|up_blocks|mid_block)(?:\.(\d+))?\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)$/.exec(name) ?? [];
  const [i, j] = [Number(level), Number(index)];
  const inner = kind === 'resnets' ? `0.${RESNET[rest] ?? rest}` : `1.${rest}`;
  if (block === 'mid_block') return kind === 'resnets' ? `middle_block.${2 * j}.${RESNET[rest] ?? rest}` : `middle_block.1.${rest}`;
  if (kind === 'downsamplers') return `input_blocks.${(i + 1) * (layers + 1)}.0.op`;
  if (kind === 'upsamplers') return `output_blocks.${i * (layers + 1) + layers}.${attending.has(i) ? 2 : 1}.conv`;
  if (block === 'down_blocks') return `input_blocks.${1 + i * (layers + 1) + j}.${inner}`;
  if (block === 'up_blocks') return `output_blocks.${i * (layers + 1) + j}.${inner}`;
  return ENDS[name] ?? name;
}

const POSITION = /^(unet|text_encoder):(\d+):(down|up)$/;
/** In the order in which the classes of that time registered their layers: the perceptron before the attention to the prompt. */
const BLOCK = ['attn1.to_q', 'attn1.to_k', 'attn1.to_v', 'attn1.to_out.0', 'ff.net.0.proj', 'attn2.to_q', 'attn2.to_k', 'attn2.to_v', 'attn2.to_out.0'];
const LAYER = ['k_proj', 'v_proj', 'q_proj', 'out_proj'];

/** cloneofsimo: layers by their place among those of certain classes, without names. */
function positional(sites: LoraSites, classes: Partial<Record<LoraPart, readonly string[]>>): Locate {
  const inBlock = classes.unet === undefined || classes.unet.includes('GEGLU') ? BLOCK : BLOCK.filter((name) => !name.startsWith('ff'));
  const expand = (all: readonly LoraSite[], first: RegExp, names: readonly string[]): (LoraSite | undefined)[] => {
    const byName = table(all);
    return all.flatMap(({ name }) => (first.test(name) ? names.map((inner) => byName.get(name.replace(first, inner))) : []));
  };
  const tables: Record<LoraPart, readonly (LoraSite | undefined)[]> = { unet: expand(sites.unet, /attn1\.to_q$/, inBlock), textEncoder: expand(sites.textEncoder, /k_proj$/, LAYER) };
  return (key) => {
    const [, prefix = '', index = '', role = ''] = POSITION.exec(key) ?? [];
    const part = PARTS[prefix];
    const site = part === undefined ? undefined : tables[part][Number(index)];
    return part === undefined || site === undefined ? undefined : { part, site, role: ROLES[role] as LoraRole };
  };
}

/** The names under which a writer stores a layer. */
export type KeyWriter = (part: LoraPart, module: string, role: LoraRole) => string;

const DOTTED_PART: Readonly<Record<LoraPart, string>> = { unet: 'unet', textEncoder: 'text_encoder' };
const KOHYA_PART: Readonly<Record<LoraPart, string>> = { unet: 'lora_unet', textEncoder: 'lora_te' }; // not lora_te1, which A1111 does not load for 2.x
const peftEnd = (role: LoraRole): string => (role === 'alpha' ? 'alpha' : `lora_${role === 'down' ? 'A' : 'B'}.weight`);

/** The layers of attention, for which diffusers has names of its own; all others keep PEFT's. */
const OWN_NAMES: Readonly<Record<LoraPart, readonly [RegExp, string]>> = {
  unet: [/\.to_(q|k|v|out\.0)$/, 'lora'],
  textEncoder: [/\.(q|k|v|out)_proj$/, 'lora_linear_layer'],
};
export const hasOwnName = (part: LoraPart, module: string): boolean => OWN_NAMES[part][0].test(module);

export const KEY_WRITERS = {
  diffusers: (part, module, role) => {
    return `${DOTTED_PART[part]}.${module}.${hasOwnName(part, module) ? `${OWN_NAMES[part][1]}.${role}.weight` : peftEnd(role)}`;
  },
  'diffusers-peft': (part, module, role) => `${DOTTED_PART[part]}.${module}.${peftEnd(role)}`,
  peft: (_, module, role) => `base_model.model.${module}.${peftEnd(role)}`,
  kohya: (part, module, role) => `${KOHYA_PART[part]}_${flattened(module)}.${role === 'alpha' ? 'alpha' : `lora_${role}.weight`}`,
} satisfies Partial<Record<LoraFormat, KeyWriter>>;
