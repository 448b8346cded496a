import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { errorFromFile, SeedbedError } from '../errors.js';
import { readPngTexts, writePngTexts } from './png-text.js';

/** Keywords of the two forms: the text that other programs write and show, and ours. */
const TEXT_KEY = 'parameters';
const JSON_KEY = 'seedbed';

const choice = z.union([z.string(), z.looseObject({ type: z.string() })]);
const settingsSchema = z.looseObject({
  prompt: z.string(),
  negativePrompt: z.string().optional(),
  steps: z.number().optional(),
  sampler: choice.optional(),
  schedule: choice.optional(),
  guidanceScale: z.number().optional(),
  seed: z.number().optional(),
  width: z.number().optional(),
  height: z.number().optional(),
  strength: z.number().optional(),
  model: z.string().optional(),
});

/** The options that made a picture. Further ones are kept in JSON, and in the text form under `other`. */
export type GenerationSettings = z.output<typeof settingsSchema>;

/** Names of samplers in the text form. */
const SAMPLERS: Readonly<Record<string, string>> = {
  ddim: 'DDIM',
  ddpm: 'DDPM',
  pndm: 'PLMS',
  euler: 'Euler',
  euler_ancestral: 'Euler a',
  heun: 'Heun',
  dpmpp_2m: 'DPM++ 2M',
  dpmpp_2m_sde: 'DPM++ 2M SDE',
  unipc: 'UniPC',
  lms: 'LMS',
  lcm: 'LCM',
  kdpm2: 'DPM2',
};
const SCHEDULES: Readonly<Record<string, string>> = { normal: 'Normal', karras: 'Karras', exponential: 'Exponential', trailing: 'Trailing' };

/** The same PNG picture with the settings in it, as text and as JSON. Throws `ERR_IMAGE` when it is no PNG. */
export function writeGenerationSettings(png: Uint8Array, settings: GenerationSettings): Buffer {
  return writePngTexts(png, { [TEXT_KEY]: settingsToText(settings), [JSON_KEY]: JSON.stringify(settings) });
}

/**
 * The settings in a PNG file: ours when they are there, else those in the text form that other programs write; undefined
 * when there are none. Throws `ERR_IMAGE`, `ERR_FILE_NOT_FOUND`, `ERR_FILE_READ`.
 */
export async function readGenerationSettings(file: string | Uint8Array): Promise<GenerationSettings | undefined> {
  const png = typeof file === 'string' ? await readPng(file) : file;
  const texts = textsOf(png, typeof file === 'string' ? file : undefined);
  const { [JSON_KEY]: json, [TEXT_KEY]: text } = texts;
  const own = json === undefined ? undefined : parseSettings(json);
  return own ?? (text === undefined ? undefined : settingsFromText(text));
}

async function readPng(path: string): Promise<Buffer> {
  return readFile(path).catch((error: unknown) => {
    throw errorFromFile(error, 'read', path);
  });
}

function textsOf(png: Uint8Array, path: string | undefined): Record<string, string> {
  try {
    return readPngTexts(png);
  } catch (error) {
    if (path === undefined || !(error instanceof SeedbedError)) throw error;
    throw new SeedbedError(error.code, `Cannot read '${path}': ${error.message}`, { cause: error });
  }
}

function parseSettings(json: string): GenerationSettings | undefined {
  try {
    return settingsSchema.safeParse(JSON.parse(json)).data;
  } catch {
    return undefined; // somebody else's text under our keyword
  }
}

const nameOf = (value: GenerationSettings['sampler']): string | undefined => (typeof value === 'object' ? value.type : value);

/** A value that the text form's commas, colons and lines would take apart stands in quotes. */
const quoted = (value: string): string => (/[,:\n"]/.test(value) || value.trim() !== value ? JSON.stringify(value) : value);

/** The text form: the prompt, `Negative prompt: ...`, and a line of `Name: value` pairs. */
export function settingsToText(settings: GenerationSettings): string {
  const { prompt, negativePrompt, steps, guidanceScale, seed, width, height, strength, model } = settings;
  const sampler = nameOf(settings.sampler);
  const schedule = nameOf(settings.schedule);
  const pairs: [string, string | number | undefined][] = [
    ['Steps', steps],
    ['Sampler', sampler === undefined ? undefined : (SAMPLERS[sampler] ?? sampler)],
    ['Schedule type', schedule === undefined ? undefined : (SCHEDULES[schedule] ?? schedule)],
    ['CFG scale', guidanceScale],
    ['Seed', seed],
    ['Size', width === undefined || height === undefined ? undefined : `${width}x${height}`],
    ['Model', model],
    ['Denoising strength', strength],
    ['Version', 'seedbed'],
  ];
  const line = pairs.flatMap(([name, value]) => (value === undefined ? [] : `${name}: ${quoted(String(value))}`)).join(', ');
  return [prompt, ...(negativePrompt === undefined || negativePrompt === '' ? [] : [`Negative prompt: ${negativePrompt}`]), line].join('\n');
}

const PAIR = /\s*(\w[\w \-/]*):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)/g;
/** A last line with fewer pairs belongs to the prompt. */
const FEWEST_PAIRS = 3;
const NEGATIVE = 'Negative prompt:';

/** Reads the text form, as this and other programs write it; names it does not know are kept in `other`. */
export function settingsFromText(text: string): GenerationSettings {
  const lines = text.trimEnd().split('\n');
  let pairs = new Map([...(lines.at(-1) ?? '').matchAll(PAIR)].map(([, name = '', value = '']) => [name, unquoted(value)]));
  if (pairs.size < FEWEST_PAIRS) pairs = new Map();
  else lines.pop();
  const border = lines.findIndex((line) => line.startsWith(NEGATIVE));
  const prompt = (border < 0 ? lines : lines.slice(0, border)).join('\n');
  const negative = border < 0 ? undefined : lines.slice(border).join('\n').slice(NEGATIVE.length).trim();

  const take = (name: string): string | undefined => {
    const value = pairs.get(name);
    pairs.delete(name);
    return value;
  };
  const number = (name: string): number | undefined => {
    const value = pairs.get(name);
    if (value === undefined || value === '' || !Number.isFinite(Number(value))) return undefined;
    return Number(take(name));
  };
  const size = /^(\d+)x(\d+)$/.exec(pairs.get('Size') ?? '');
  if (size !== null) take('Size');
  const found = {
    negativePrompt: negative === '' ? undefined : negative,
    steps: number('Steps'),
    ...samplerFromText(take('Sampler'), take('Schedule type')),
    guidanceScale: number('CFG scale'),
    seed: number('Seed'),
    width: size === null ? undefined : Number(size[1]),
    height: size === null ? undefined : Number(size[2]),
    strength: number('Denoising strength'),
    model: take('Model'),
  };
  return { prompt, ...Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined)), ...(pairs.size > 0 && { other: Object.fromEntries(pairs) }) };
}

/** Older programs write the schedule behind the sampler: "DPM++ 2M Karras". */
function samplerFromText(sampler: string | undefined, schedule: string | undefined): Pick<GenerationSettings, 'sampler' | 'schedule'> {
  const known = (table: Readonly<Record<string, string>>, shown: string): string | undefined => Object.entries(table).find(([, value]) => value.toLowerCase() === shown.toLowerCase())?.[0];
  if (sampler === undefined) return {};
  const [, name = sampler, suffix] = /^(.*?)(?: (Karras|Exponential))?$/i.exec(sampler) ?? [];
  const type = schedule ?? suffix;
  return { sampler: known(SAMPLERS, name) ?? name, ...(type !== undefined && type !== 'Automatic' && { schedule: known(SCHEDULES, type) ?? type }) };
}

function unquoted(value: string): string {
  if (!value.startsWith('"')) return value.trim();
  try {
    return String(JSON.parse(value));
  } catch {
    return value;
  }
}
