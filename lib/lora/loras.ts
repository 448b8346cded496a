import { basename } from 'node:path';
import { z } from 'zod';
import type { DiffusionParts } from '../diffusion/parts.js';
import { ArgumentError } from '../errors.js';
import { normalise } from '../diffusion/tokenizer.js';
import { native, type LoraInfo } from '../native.js';
import { checkOptions } from '../options.js';
import type { Tensor } from '../tensor.js';
import type { LoraFactors, LoraWeights } from './lora.js';
import { readLora } from './read.js';
import { textSites, unetSites } from './sites.js';

const scale = z.number().min(-1000).max(1000);

const schema = z.strictObject({
  /** What the adapter is called from now on. Default: the file's name without its extension. */
  name: z.string().min(1).optional(),
  /** Strength, on top of alpha / rank; negative turns it round. Default 1. */
  scale: scale.default(1),
  /** Other words for the file's textual-inversion embeddings, by the words it has: `{ '<s1>': '<dog>' }`. */
  tokens: z.record(z.string(), z.string().min(1)).default({}),
  /** false: layers of the file that the model does not have are left out. Default true: an error. */
  strict: z.boolean().default(true),
});

export type AddLoraOptions = z.input<typeof schema>;

/** More vectors than the text encoder reads are of no use. */
const MOST_VECTORS = 128;

/** Embeddings under other words. Throws `ERR_INVALID_ARGUMENT` for words that are not there. */
function renamed(embeddings: Readonly<Record<string, Tensor>>, words: Readonly<Record<string, string>>): Record<string, Tensor> {
  const known = Object.keys(embeddings);
  const unknown = Object.keys(words).find((word) => !known.includes(word));
  if (unknown !== undefined) throw new ArgumentError(`Expected words of the LoRA's embeddings (${known.length === 0 ? 'it has none' : known.join(', ')}) for tokens, received '${unknown}'`);
  return Object.fromEntries(Object.entries(embeddings).map(([word, tensor]) => [words[word] ?? word, tensor]));
}

/** Scales of adapters for one call, by name; 0 leaves one out. Those not named keep theirs. */
export const loraScalesSchema = z.record(z.string(), scale);

/**
 * The LoRA adapters of a model. They act while a call runs; the model's own weights never change, so that removing one, or
 * un-merging it, gives back every bit. A call sees the adapters that were active when it began.
 */
export class Loras {
  readonly #parts: DiffusionParts;

  /** @internal */
  constructor(parts: DiffusionParts) {
    this.#parts = parts;
  }

  /**
   * Adds an adapter: a file in any of the known formats, a PEFT folder, or factors by layer. The words of its textual-inversion embeddings, or of a file
   * that holds nothing else, may stand in prompts from now on. Throws `ERR_FILE_NOT_FOUND`, `ERR_FILE_FORMAT`,
   * `ERR_WEIGHTS` for layers and embeddings that do not fit, `ERR_NOT_FINITE`, `ERR_INVALID_ARGUMENT` for a name or a word that is taken.
   */
  add(source: string | LoraWeights, options: AddLoraOptions = {}): LoraInfo {
    const o = checkOptions(schema, options, 'loras.add');
    if (typeof source !== 'string' && o.name === undefined) throw new ArgumentError('Expected a name for factors that come from no file, for loras.add');
    const name = o.name ?? basename(source as string).replace(/\.safetensors$/, '');
    const { handle, config } = this.#parts;
    const weights = typeof source !== 'string' ? source : readLora(source, { unet: unetSites(config.unet), textEncoder: textSites(config.textEncoder) }, { strict: o.strict }).weights;
    const factors = (layers: Record<string, LoraFactors>) => Object.fromEntries(Object.entries(layers).map(([layer, { down, up, scale }]) => [layer, { down, up, scale }]));
    const embeddings = renamed(weights.embeddings, o.tokens);
    this.#checkWords(embeddings);
    native().addLora(handle, { name, scale: o.scale, unet: factors(weights.unet), textEncoder: factors(weights.textEncoder), embeddings });
    return this.list().find((lora) => lora.name === name) as LoraInfo;
  }

  /** Throws `ERR_INVALID_ARGUMENT` for words that mean something already. */
  #checkWords(embeddings: Readonly<Record<string, Tensor>>): void {
    const taken = new Map(this.list().flatMap((lora) => lora.tokens.map((token) => [normalise(token), `the LoRA '${lora.name}' has it already`])));
    for (const [token, { shape }] of Object.entries(embeddings)) {
      const vectors = shape.length === 1 ? 1 : (shape[0] ?? 0);
      const words = Array.from({ length: Math.min(vectors, MOST_VECTORS) }, (_, i) => (i === 0 ? token : `${token}_${i}`));
      const why = token.trim() === '' ? 'it is empty' : (words.map((word) => taken.get(normalise(word))).find((found) => found !== undefined) ?? (words.some((word) => this.#parts.tokenizer.has(word)) ? 'the tokenizer knows it' : undefined));
      if (why !== undefined) throw new ArgumentError(`Expected a new word for the embedding '${token}', ${why}; give another with the option tokens: { '${token}': '<word>' }`);
      taken.set(normalise(token), 'the same file has it twice');
    }
  }

  /** In order of addition. */
  list(): LoraInfo[] {
    return native().listLoras(this.#parts.handle);
  }

  setScale(name: string, value: number): void {
    native().changeLora(this.#parts.handle, { name, scale: checkOptions(scale, value, 'setScale') });
  }

  remove(name: string): void {
    native().removeLora(this.#parts.handle, name);
  }

  /** Calls cost no more than without the adapter, after the first one, which computes the changed weights; these take memory. */
  merge(name: string): void {
    native().changeLora(this.#parts.handle, { name, merged: true });
  }

  unmerge(name: string): void {
    native().changeLora(this.#parts.handle, { name, merged: false });
  }
}
