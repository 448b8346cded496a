import type { ClipTokenizer } from '../diffusion/tokenizer.js';
import { ArgumentError } from '../errors.js';
import { show } from '../options.js';
import type { Tensor } from '../tensor.js';

/** What each picture shows: a text, or several that all fit. */
export type Captions = readonly (string | readonly string[])[];

const TEXTS_AT_A_TIME = 2000; // between two looks at the signal

export interface CaptionTensors {
  /** Token ids of all different texts [texts, tokens]. */
  ids: Tensor<'int64'>;
  /** Rows of `ids`: those of the first picture, then of the second ... */
  captions: Tensor<'int64'>;
  /** Where each picture's begin; one more at the end. */
  starts: Tensor<'int64'>;
}

/** Texts to token ids, each different text once: `length` of them, or as many as the longest needs. Throws `ERR_INVALID_ARGUMENT` naming the first that does not fit. */
export async function readCaptions(captions: Captions, count: number, tokenizer: ClipTokenizer, name: string, warn: (message: string) => void, signal: AbortSignal, length?: number): Promise<CaptionTensors> {
  if (!Array.isArray(captions) || captions.length !== count) throw new ArgumentError(`Expected ${count} texts or lists of texts for ${name}captions, one for each picture, received ${show(captions)}`);
  const rows = new Map<string, number>();
  const encoded: (readonly number[])[] = [];
  const chosen: number[] = [];
  const starts = [0];
  const cut = new Set<string>();
  let longest = length ?? 0;
  for (const [i, given] of captions.entries()) {
    const texts: readonly unknown[] = typeof given === 'string' ? [given] : Array.isArray(given) ? given : [];
    if (texts.length === 0) throw new ArgumentError(`Expected a text or a list of texts for ${name}captions.${i}, received ${show(given)}`);
    for (const text of texts) {
      if (typeof text !== 'string') throw new ArgumentError(`Expected a text for ${name}captions.${i}, received ${show(text)}`);
      let row = rows.get(text);
      if (row === undefined) {
        const { ids, truncated } = tokenizer.encode(text);
        if (truncated !== undefined) cut.add(truncated);
        row = encoded.push(ids) - 1;
        rows.set(text, row);
        longest = Math.max(longest, ids.indexOf(tokenizer.eosId, 1) + 1);
        if (encoded.length % TEXTS_AT_A_TIME === 0) await new Promise((resolve) => setImmediate(resolve));
        signal.throwIfAborted();
      }
      chosen.push(row);
    }
    starts.push(chosen.length);
  }
  if (cut.size > 0) warn(`The text encoder reads ${tokenizer.length} tokens; the end of ${cut.size} captions is lost, as '${[...cut][0]}'`);
  const ids = new BigInt64Array(encoded.length * longest);
  for (const [row, numbers] of encoded.entries()) for (let j = 0; j < longest; j++) ids[row * longest + j] = BigInt(numbers[j] ?? 0);
  return { ids: { data: ids, shape: [encoded.length, longest], dtype: 'int64' }, captions: integers(chosen), starts: integers(starts) };
}

/** One integer for each picture. */
export function integerTensor(values: readonly number[], count: number, name: string): Tensor<'int64'> {
  if (values.length !== count) throw new ArgumentError(`Expected ${count} integers for ${name}, one for each picture, received ${values.length}`);
  const wrong = values.findIndex((value) => !Number.isSafeInteger(value));
  if (wrong >= 0) throw new ArgumentError(`Expected an integer for ${name}.${wrong}, received ${show(values[wrong])}`);
  return integers(values);
}

function integers(values: readonly number[]): Tensor<'int64'> {
  return { data: BigInt64Array.from(values, BigInt), shape: [values.length], dtype: 'int64' };
}
