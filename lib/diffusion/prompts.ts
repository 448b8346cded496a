import { ArgumentError } from '../errors.js';
import { runNative } from '../job.js';
import { native, type ClipEncoding } from '../native.js';
import { defined } from '../options.js';
import type { Tensor } from '../tensor.js';
import type { FreeU, Prompts } from './generate-options.js';
import type { DiffusionParts, NativeCall } from './parts.js';
import type { WarningEvent } from './results.js';
import type { Placeholders } from './tokenizer.js';

export const asList = (value: string | readonly string[]): readonly string[] => (typeof value === 'string' ? [value] : value);
const isTexts = (value: Prompts): value is string | string[] => typeof value === 'string' || Array.isArray(value);

export const promptCount = (value: Prompts): number => (isTexts(value) ? asList(value).length : (value.shape[0] ?? 0));

/** The text of prompt `i`; empty where states were given. */
export const promptText = (value: Prompts, i: number): string => (isTexts(value) ? (asList(value)[i] ?? asList(value)[0] ?? '') : '');

/** Each row `count` times in turn; one row stays one, which serves all pictures. */
function repeatRows(states: Tensor<'float32'>, count: number): Tensor<'float32'> {
  const [rows = 0, ...rest] = states.shape;
  if (rows === 1 || count === 1) return states;
  const length = states.data.length / rows;
  const data = new Float32Array(states.data.length * count);
  for (let i = 0; i < rows * count; i++) data.set(states.data.subarray(Math.floor(i / count) * length, (Math.floor(i / count) + 1) * length), i * length);
  return { data, shape: [rows * count, ...rest], dtype: 'float32' };
}

/** The words that a call's adapters bring: each for all its vectors, and, as diffusers has them, `<word>_1` for the second, `<word>_2` for the third alone. */
function placeholdersOf({ loras }: NativeCall): Placeholders {
  return new Map(
    native()
      .loraPlaceholders(loras)
      .flatMap(({ token, firstId, vectors }) => Array.from({ length: vectors }, (_, i): [string, number[]] => (i === 0 ? [token, Array.from({ length: vectors }, (_, j) => firstId + j)] : [`${token}_${i}`, [firstId + i]]))),
  );
}

/** What running work may do. */
interface Context {
  emit: (event: WarningEvent) => void;
  signal: AbortSignal;
}

/** The text encoder's states, [texts, 77, width]; warns of text that it does not read. */
export async function encodeTexts(parts: DiffusionParts, texts: readonly string[], options: NativeCall & { clipSkip?: number | undefined }, { emit, signal }: Context): Promise<Tensor<'float32'>> {
  const { tokenizer, handle } = parts;
  const { clipSkip = 0, ...call } = options;
  const placeholders = placeholdersOf(options);
  const ids = texts.flatMap((text) => {
    const { ids, truncated } = tokenizer.encode(text, placeholders);
    if (truncated !== undefined) emit({ type: 'warning', message: `The text encoder reads ${tokenizer.length} tokens; this part of the prompt is lost: '${truncated}'` });
    return ids;
  });
  const full = { ids: { data: BigInt64Array.from(ids, BigInt), shape: [texts.length, tokenizer.length], dtype: 'int64' }, skippedLayers: clipSkip, ...call };
  const { states } = await runNative<never, ClipEncoding>((listener) => native().encodeText(handle, full, listener), signal);
  return states;
}

interface GuidanceOptions {
  prompt: Prompts;
  negativePrompt?: Prompts | undefined;
  guidanceScale: number;
  guidanceRescale: number;
  freeU?: FreeU | undefined;
  clipSkip?: number | undefined;
}

/** Prompts as states, each for `count` pictures, and how strongly they guide, as the addon reads it. */
export async function guidanceOf(parts: DiffusionParts, o: GuidanceOptions, count: number, call: NativeCall, context: Context): Promise<Record<string, unknown>> {
  const { guidanceScale, guidanceRescale, freeU, clipSkip, negativePrompt: negative = '' } = o;
  const [texts, negatives] = [promptCount(o.prompt), promptCount(negative)];
  if (negatives !== 1 && negatives !== texts) throw new ArgumentError(`Expected 1 or ${texts} texts for negativePrompt, received ${negatives}`);
  const states = async (input: Prompts, skip: number | undefined): Promise<Tensor<'float32'>> =>
    repeatRows(isTexts(input) ? await encodeTexts(parts, asList(input), { clipSkip: skip, ...call }, context) : (input as Tensor<'float32'>), count);
  const prompt = await states(o.prompt, clipSkip);
  // faithful: diffusers leaves layers out for the prompt only
  const negativePrompt = guidanceScale === 1 ? undefined : await states(negative, undefined);
  return defined({ ...call, prompt, negativePrompt, guidanceScale, guidanceRescale, freeU });
}
