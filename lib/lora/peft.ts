import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { parseFile } from '../diffusion/json-file.js';
import { errorFromFile, SeedbedError } from '../errors.js';
import type { LoraPart } from './lora.js';

/** alpha and scale of a layer. */
export interface LoraScale {
  alpha: number;
  scale: number;
}

/** What an adapter's configuration says about a layer of a rank; throws `ERR_WEIGHTS` when it says another rank. */
export type ScaleOf = (module: string, rank: number) => LoraScale;

/** The name under which diffusers stores configurations in a file's metadata. */
export const ADAPTER_METADATA = 'lora_adapter_metadata';

const numbers = z.record(z.string(), z.number());
/** A field that may be null or absent. */
const orDefault = <S extends z.ZodType>(schema: S, value: z.output<S>): z.ZodType<z.output<S>> => schema.nullish().transform((found) => found ?? value);

/** PEFT's LoraConfig, with its defaults. */
const configSchema = z.object({
  peft_type: orDefault(z.string(), 'LORA'),
  r: z.int().min(1).default(8),
  lora_alpha: z.number().default(8),
  use_rslora: orDefault(z.boolean(), false),
  use_dora: orDefault(z.boolean(), false),
  rank_pattern: orDefault(numbers, {}),
  alpha_pattern: orDefault(numbers, {}),
  init_lora_weights: orDefault(z.union([z.boolean(), z.string()]), true),
  bias: orDefault(z.string(), 'none'),
  modules_to_save: orDefault(z.array(z.string()), []),
});

/** Initial values that also change the base weights; the factors alone do not say by how much. */
const CHANGES_BASE = ['pissa', 'olora', 'corda', 'loftq', 'lora_ga'];

/** Reads scales from a LoraConfig. Throws `ERR_FILE_FORMAT` naming a kind of adapter or a setting that is not built. */
export function scalesOfConfig(value: unknown, path: string): ScaleOf {
  const c = parseFile(configSchema, value, path);
  const refuse = (what: string): never => {
    throw new SeedbedError('ERR_FILE_FORMAT', `'${path}' is ${what}; seedbed reads LoRA`);
  };
  if (c.peft_type !== 'LORA') refuse(`an adapter of PEFT's kind ${c.peft_type}`);
  if (c.use_dora) refuse('DoRA (use_dora)');
  if (c.bias !== 'none') refuse(`LoRA with biases (bias '${c.bias}')`);
  if (c.modules_to_save.length > 0) refuse(`LoRA with whole modules beside it (modules_to_save '${c.modules_to_save[0]}')`);
  const initial = typeof c.init_lora_weights === 'string' ? c.init_lora_weights.toLowerCase() : '';
  if (CHANGES_BASE.some((name) => initial.startsWith(name))) refuse(`LoRA that began by changing the base weights (init_lora_weights '${initial}'); save it with PEFT's path_initial_model_for_weight_conversion`);
  const rankPattern = patterns(c.rank_pattern, path);
  const alphaPattern = patterns(c.alpha_pattern, path);
  return (module, rank) => {
    const expected = rankPattern(module) ?? c.r;
    if (expected !== rank) throw new SeedbedError('ERR_WEIGHTS', `Expected rank ${expected} for '${module}', as '${path}' says, found ${rank}`);
    const alpha = alphaPattern(module) ?? c.lora_alpha;
    return { alpha, scale: alpha / (c.use_rslora ? Math.sqrt(rank) : rank) };
  };
}

/**
 * The number whose pattern a module's name fits, the first in order as in PEFT: a name or its end after a dot. Of the
 * expressions that PEFT allows there, `.*` and `^` are read: any expression could run for ever.
 */
function patterns(entries: Readonly<Record<string, number>>, path: string): (module: string) => number | undefined {
  const list = Object.entries(entries).map(([pattern, value]): [RegExp, number] => {
    const plain = pattern.replace(/^\^/, '').replace(/\$$/, '');
    const pieces = plain.split('.*').map((piece) => piece.replaceAll('\\.', '.'));
    if (pieces.length > 4 || pieces.some((piece) => !/^[\w.-]*$/.test(piece))) throw new SeedbedError('ERR_FILE_FORMAT', `Expected names of modules in the patterns of '${path}', found the expression '${pattern}'`);
    const body = pieces.map((piece) => piece.replaceAll('.', '\\.')).join('.*');
    return [new RegExp(pattern.startsWith('^') ? `^${body}$` : `^(.*\\.)?${body}$`), value];
  });
  return (module) => list.find(([pattern]) => pattern.test(module))?.[1];
}

/** Reads an adapter_config.json. */
export function readAdapterConfig(path: string): ScaleOf {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw errorFromFile(error, 'read', path);
  }
  return scalesOfConfig(parseJson(text, path), path);
}

/** Reads the configurations in a diffusers file's metadata: one for each part, its fields prefixed with the part's name. */
export function readAdapterMetadata(metadata: Readonly<Record<string, string>>, path: string): Partial<Record<LoraPart, ScaleOf>> {
  const text = metadata[ADAPTER_METADATA];
  if (text === undefined) return {};
  const where = `${path}, ${ADAPTER_METADATA}`;
  const fields = parseFile(z.record(z.string(), z.unknown()), parseJson(text, where), where);
  const configOf = (prefix: string): ScaleOf | undefined => {
    const own = Object.entries(fields).filter(([name]) => name.startsWith(prefix));
    return own.length === 0 ? undefined : scalesOfConfig(Object.fromEntries(own.map(([name, value]) => [name.slice(prefix.length), value])), where);
  };
  const unet = configOf('unet.');
  const textEncoder = configOf('text_encoder.');
  return { ...(unet && { unet }), ...(textEncoder && { textEncoder }) };
}

function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new SeedbedError('ERR_FILE_FORMAT', `Expected JSON in '${path}', found ${text.trim() === '' ? 'nothing' : 'something else'}`, { cause: error });
  }
}
