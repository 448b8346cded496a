import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import { z } from 'zod';
import { errorFromFile, SeedbedError } from '../errors.js';
import { parseFile, readJson, refuseLfsPointer } from './json-file.js';

/** What is used of the engine; its own declarations do not resolve under Node's rules for modules. */
interface Engine {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] };
  decode(ids: number[], options: { clean_up_tokenization_spaces: boolean }): string;
}
const Engine = Tokenizer as unknown as new (definition: object, settings: object) => Engine;

/** CLIP's context, for folders that do not say. */
const DEFAULT_LENGTH = 77;
/** transformers writes 1e30 for "no limit". */
const LARGEST_LENGTH = 4096;

export interface Encoded {
  /** Begin token, text, end token, padding: always `tokenizer.length` numbers. */
  ids: number[];
  /** The end of the text that did not fit, as the tokenizer spells it; undefined when all fitted. */
  truncated: string | undefined;
}

/** Text to the ids of a CLIP text encoder, as transformers' `CLIPTokenizer` makes them. Prompt weights have no meaning here. */
export interface ClipTokenizer {
  readonly length: number;
  readonly vocabSize: number;
  readonly bosId: number;
  readonly eosId: number;
  readonly padId: number;
  /** `placeholders`: words of adapters with the ids that each stands for, found in small and capital letters and within other words. */
  encode(text: string, placeholders?: Placeholders): Encoded;
  /** Whether a word is in the vocabulary as it stands. */
  has(word: string): boolean;
}

export type Placeholders = ReadonlyMap<string, readonly number[]>;
const NONE: Placeholders = new Map();

const addedTokenSchema = z.object({ content: z.string(), normalized: z.boolean().default(false), lstrip: z.boolean().default(false), rstrip: z.boolean().default(false), single_word: z.boolean().default(false) });
type AddedToken = z.output<typeof addedTokenSchema>;

const specialSchema = z.union([z.string().transform((content) => addedTokenSchema.parse({ content })), addedTokenSchema]);
const settingsSchema = z.object({
  model_max_length: z.number().positive().optional(),
  tokenizer_class: z.string().optional(),
  bos_token: specialSchema.optional(),
  eos_token: specialSchema.optional(),
  unk_token: specialSchema.optional(),
  pad_token: specialSchema.nullish(),
  added_tokens_decoder: z.record(z.string(), addedTokenSchema).optional(),
});
type Settings = z.output<typeof settingsSchema>;

// A schema per entry would take longer than the rest of loading.
const vocabSchema = z.custom<Record<string, number>>(
  (value) => typeof value === 'object' && value !== null && !Array.isArray(value) && Object.values(value).every((id) => Number.isSafeInteger(id) && (id as number) >= 0),
  'expected an object of token ids',
);
const mergeSchema = z.union([z.string(), z.tuple([z.string(), z.string()])]);
const wholeSchema = z.object({
  added_tokens: z.array(addedTokenSchema.extend({ id: z.int().min(0) })).default([]),
  normalizer: z.unknown(),
  pre_tokenizer: z.object({ pretokenizers: z.array(z.object({ type: z.string(), pattern: z.unknown().optional() })).min(1) }),
  model: z.object({ type: z.literal('BPE').default('BPE'), end_of_word_suffix: z.literal('</w>'), vocab: vocabSchema, merges: z.array(mergeSchema) }),
});

interface Vocabulary {
  vocab: Record<string, number>;
  merges: (string | [string, string])[];
  /** Said by tokenizer.json; otherwise they follow from the special tokens. */
  addedTokens?: (AddedToken & { id: number })[];
}

/** The parts of tokenizer.json that decide what CLIP's tokenizer does; another rule would give other ids. */
const CLIP_NORMALIZER = { type: 'Sequence', normalizers: [{ type: 'NFC' }, { type: 'Replace', pattern: { Regex: '\\s+' }, content: ' ' }, { type: 'Lowercase' }] };
const CLIP_SPLIT = "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+";

// JavaScript's \s takes U+FEFF for a space and U+0085 for none, and its toLowerCase gives a capital sigma at a word's end another
// letter; the reference does not. So both are spelt out.
const SPACE = '\\p{White_Space}';
const NORMALIZER = {
  type: 'Sequence',
  normalizers: [{ type: 'NFC' }, { type: 'Replace', pattern: { Regex: `${SPACE}+` }, content: ' ' }, { type: 'Replace', pattern: { String: 'Σ' }, content: 'σ' }, { type: 'Lowercase' }],
};

/** First as a whole where the text holds the special tokens' names in other letters, then apart: the reference splits twice. */
const WORDS = CLIP_SPLIT.replace('\\s', SPACE);
const SPLITS = [`<\\|startoftext\\|>|<\\|endoftext\\|>|${WORDS}`, WORDS].map((pattern) => ({ type: 'Split', pattern: { Regex: pattern }, behavior: 'Removed', invert: true }));

/**
 * Loads a model folder's `tokenizer/`: vocab.json and merges.txt, or tokenizer.json, with tokenizer_config.json and
 * special_tokens_map.json. Throws `ERR_FILE_NOT_FOUND`, `ERR_FILE_READ`, `ERR_FILE_FORMAT`.
 */
export async function loadTokenizer(folder: string): Promise<ClipTokenizer> {
  const settings = await readSettings(folder);
  const { vocab, merges, addedTokens } = await readVocabulary(folder);
  const special = specialTokens(settings);
  const idOf = (content: string): number => {
    const id = vocab[content] ?? addedTokens?.find((token) => token.content === content)?.id ?? settings.added.get(content);
    if (id === undefined) throw new SeedbedError('ERR_FILE_FORMAT', `Expected the special token '${content}' in the vocabulary of '${folder}', found none`);
    return id;
  };
  const [bosId, eosId, padId] = [idOf(special.bos), idOf(special.eos), idOf(special.pad)];
  const added = addedTokens ?? special.tokens.map((token) => ({ ...token, id: idOf(token.content) }));
  // Those matched before normalisation are cut out here: the engine would also match a whole text that normalises to one.
  const raw = new Map(added.filter(({ normalized }) => !normalized).map(({ content, id }) => [content, id]));
  const engine = makeEngine({ vocab, merges, special, added: added.filter(({ normalized }) => normalized) });
  const wordIds = (text: string): number[] => (text === '' ? [] : engine.encode(text, { add_special_tokens: false }).ids);
  /** Placeholders are found after normalisation, the words between them one by one. */
  const partIds = (text: string, placeholders: Placeholders): readonly number[] => {
    if (placeholders.size === 0) return wordIds(text);
    const ids = new Map([...placeholders].map(([word, own]) => [normalise(word), own]));
    return normalise(text).split(alternatives([...ids.keys()])).flatMap((part) => ids.get(part) ?? wordIds(part));
  };
  const textIds = (text: string, placeholders: Placeholders): number[] => text.split(alternatives([...raw.keys()])).flatMap((part) => raw.get(part) ?? partIds(part, placeholders));
  const spell = (ids: readonly number[], placeholders: Placeholders): string => {
    const words = new Map([...placeholders].flatMap(([word, own]) => (own.length === 1 ? [[own[0] as number, word] as const] : [])));
    const runs: number[][] = [];
    for (const [i, id] of ids.entries()) {
      if (i === 0 || words.has(id) || words.has(ids[i - 1] as number)) runs.push([]);
      runs.at(-1)?.push(id);
    }
    return runs.map((run) => words.get(run[0] as number) ?? engine.decode(run, { clean_up_tokenization_spaces: false }).trim()).join(' ');
  };
  const length = settings.length;
  return {
    length,
    vocabSize: Object.keys(vocab).length + added.filter(({ content }) => vocab[content] === undefined).length,
    bosId,
    eosId,
    padId,
    has: (word) => Object.hasOwn(vocab, word) || added.some(({ content }) => content === word),
    encode(text, placeholders = NONE) {
      const ids = textIds(text, placeholders);
      const kept = ids.slice(0, length - 2);
      const lost = ids.slice(kept.length);
      const padding = new Array<number>(length - 2 - kept.length).fill(padId);
      return { ids: [bosId, ...kept, eosId, ...padding], truncated: lost.length === 0 ? undefined : spell(lost, placeholders) };
    },
  };
}

/** A text as the tokenizer reads it. */
export const normalise = (text: string): string => text.normalize('NFC').replace(new RegExp(`${SPACE}+`, 'gu'), ' ').replaceAll('Σ', 'σ').toLowerCase();

/** Matches any of the words, the longest first, and keeps it when a text is split there. */
function alternatives(words: readonly string[]): RegExp {
  const escaped = [...words].sort((a, b) => b.length - a.length).map((word) => word.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'));
  return new RegExp(escaped.length === 0 ? '(?!)' : `(${escaped.join('|')})`);
}

function makeEngine({ vocab, merges, special, added }: Vocabulary & { special: Specials; added: (AddedToken & { id: number })[] }): Engine {
  const definition = {
    added_tokens: added.map((token) => ({ ...token, special: true })),
    normalizer: NORMALIZER,
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [...SPLITS, { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false }],
    },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { type: 'BPE', unk_token: special.unk, continuing_subword_prefix: '', end_of_word_suffix: '</w>', vocab, merges },
  };
  return new Engine(definition, {});
}

async function readSettings(folder: string): Promise<Settings & { length: number; added: Map<string, number> }> {
  const files = ['special_tokens_map.json', 'tokenizer_config.json'].map((name) => join(folder, name));
  let settings: Settings = {};
  for (const path of files) if (existsSync(path)) settings = { ...settings, ...parseFile(settingsSchema, await readJson(path), path) };
  const { model_max_length: length = DEFAULT_LENGTH, tokenizer_class: name = 'CLIPTokenizer' } = settings;
  if (!/^CLIPTokenizer(Fast)?$/.test(name)) throw new SeedbedError('ERR_FILE_FORMAT', `Expected a CLIPTokenizer in '${folder}', found a ${name}`);
  const added = new Map(Object.entries(settings.added_tokens_decoder ?? {}).map(([id, { content }]) => [content, Number(id)]));
  return { ...settings, length: length > LARGEST_LENGTH ? DEFAULT_LENGTH : Math.max(2, Math.floor(length)), added };
}

interface Specials {
  bos: string;
  eos: string;
  pad: string;
  unk: string;
  tokens: AddedToken[];
}

/** Where two roles share a token, the later one's manner of matching counts, as in transformers. */
function specialTokens(settings: Settings): Specials {
  const role = (token: AddedToken | null | undefined, content: string): AddedToken => token ?? addedTokenSchema.parse({ content });
  const [bos, eos] = [role(settings.bos_token, '<|startoftext|>'), role(settings.eos_token, '<|endoftext|>')];
  const [unk, pad] = [role(settings.unk_token, '<|endoftext|>'), role(settings.pad_token, '<|endoftext|>')];
  const tokens = new Map([...Object.values(settings.added_tokens_decoder ?? {}), bos, eos, unk, pad].map((token) => [token.content, token]));
  return { bos: bos.content, eos: eos.content, unk: unk.content, pad: pad.content, tokens: [...tokens.values()] };
}

async function readVocabulary(folder: string): Promise<Vocabulary> {
  const [vocabPath, mergesPath, wholePath] = ['vocab.json', 'merges.txt', 'tokenizer.json'].map((name) => join(folder, name)) as [string, string, string];
  if (existsSync(vocabPath) && existsSync(mergesPath)) return { vocab: parseFile(vocabSchema, await readJson(vocabPath), vocabPath), merges: await readMerges(mergesPath) };
  if (existsSync(wholePath)) return readWhole(wholePath);
  throw new SeedbedError('ERR_FILE_NOT_FOUND', `Expected vocab.json and merges.txt, or tokenizer.json, in '${folder}', found neither`);
}

async function readMerges(path: string): Promise<string[]> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw errorFromFile(error, 'read', path);
  });
  refuseLfsPointer(text, path);
  const lines = text.split(/\r?\n/).filter((line) => line !== '' && !line.startsWith('#version'));
  const wrong = lines.find((line) => !/^\S+ \S+$/.test(line));
  if (wrong !== undefined || lines.length === 0) throw new SeedbedError('ERR_FILE_FORMAT', `Expected two parts of a word on each line of '${path}', found ${wrong === undefined ? 'no lines' : `'${wrong.slice(0, 60)}'`}`);
  return lines;
}

async function readWhole(path: string): Promise<Vocabulary> {
  const whole = parseFile(wholeSchema, await readJson(path), path);
  const split = (whole.pre_tokenizer.pretokenizers[0]?.pattern as { Regex?: string } | undefined)?.Regex ?? '';
  if (JSON.stringify(whole.normalizer) !== JSON.stringify(CLIP_NORMALIZER) || !split.endsWith(CLIP_SPLIT))
    throw new SeedbedError('ERR_FILE_FORMAT', `Expected CLIP's rules (NFC, one space, lower case; its word pattern) in '${path}', found others`);
  return { vocab: whole.model.vocab, merges: whole.model.merges, addedTokens: whole.added_tokens };
}
