import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Dataset } from '../../data/dataset.js';
import { pixelDigest } from '../../data/overlap.js';
import type { Diffusion } from '../../diffusion/diffusion.js';
import { fitted } from '../../diffusion/pixels.js';
import { planPictureFiles, type PictureCall, type PictureFile } from '../../diffusion/picture-files.js';
import { errorFromFile } from '../../errors.js';
import { squared, type Image } from '../../image.js';
import { adaptersOf, promptOf, type DataDreamSettings } from './options.js';
import type { Work } from './work.js';

/** A picture of the run. */
export interface Made extends PictureFile {
  className: string;
  /** Relative to the folder of pictures. */
  name: string;
  /** Names of the adapters it is made with. */
  adapters: readonly string[];
  /** Their sha256, with + between them. */
  lora: string;
  /** Keys of the real pictures of its class that it was made from more than from the others: it begins with that one, or has the adapters of these. */
  from: readonly string[];
  /** What it shares with its neighbours. */
  call: PictureCall;
}

/** What a picture is made with. */
interface Recipe {
  adapters: string[];
  prompt: string;
  from: string[];
  /** A real picture; undefined where all begins with noise. */
  beginning: { image: Image; sha256: string } | undefined;
}

/** All pictures of a class; none is looked for. */
export async function planClass(sd: Diffusion, className: string, shots: Dataset, settings: DataDreamSettings, work: Work): Promise<Made[]> {
  const recipes = await recipesOf(sd, className, shots, settings);
  const hashes = new Map<string, string>();
  for (const name of new Set(recipes.flatMap(({ adapters }) => adapters))) hashes.set(name, await sha256Of(work.lora(name)));
  const loras = recipes.map(({ adapters }) => adapters.map((name) => hashes.get(name)).join('+'));
  const images = recipes.flatMap(({ beginning }) => (beginning === undefined ? [] : [beginning.image]));
  const prompts = recipes.map(({ prompt }) => prompt);
  const fileOf = (_: number, i: number): string => join(work.images, work.image(className, i));
  const provenance = (i: number): Record<string, unknown> => ({ class: className, lora: loras[i], ...(recipes[i]?.beginning && { imageSha256: recipes[i].beginning.sha256 }) });
  const calls = callsOf(sd, settings, className);
  const plans = calls.map((call) => planPictureFiles(sd, call, prompts, { fileOf, provenance, ...(images.length > 0 && { images }) }));
  const turnOf = (i: number): number => Math.floor(i / settings.generate.batchSize) % calls.length;
  const files = prompts.map((_, i) => plans[turnOf(i)]?.[i] as PictureFile);
  // Which of the run's adapters are in the model at this moment says nothing of the picture; `lora` does.
  const withoutLoras = ({ loras: _, ...others }: PictureFile['settings']): PictureFile['settings'] => others;
  return files.map((file, i) => ({ ...file, settings: withoutLoras(file.settings), className, name: work.image(className, i), adapters: (recipes[i] as Recipe).adapters, from: (recipes[i] as Recipe).from, lora: loras[i] as string, call: calls[turnOf(i)] as PictureCall }));
}

async function recipesOf(sd: Diffusion, className: string, shots: Dataset, settings: DataDreamSettings): Promise<Recipe[]> {
  const { mode, captions: told, generate: { init, template } } = settings;
  const real = shots.ofClass(className);
  const names = adaptersOf(settings, className, real.length);
  const captions = told && template === undefined ? await real.captions() : [];
  const size = sizeOf(sd);
  const beginnings = init === 'noise' ? [] : await real.load(({ image }) => ({ image: fitted(squared(image), size), sha256: pixelDigest(image) }));
  return lendersOf(settings, className, real.length).map((lenders, i) => {
    const lender = lenders[i % lenders.length] as number; // the real pictures in turn, of those whose adapters draw it
    const origins = mode === 'picture' ? lenders : init === 'real' ? [lender] : [];
    return { adapters: mode === 'picture' ? lenders.map((own) => names[own] as string) : names, prompt: questionOf(settings, className, captions[lender], i), from: origins.map((own) => real.keys[own] as string), beginning: beginnings[lender] };
  });
}

/** What picture `i` of a class is asked for with: a sentence of its own bank, a real picture's caption, or the sentence that was learnt. */
function questionOf(settings: DataDreamSettings, className: string, caption: string | undefined, i: number): string {
  const { template = settings.template, names } = settings.generate;
  const own = settings.generate.template !== undefined || Object.hasOwn(names, className);
  return (own ? undefined : caption) ?? promptOf({ ...settings, template, names: { ...settings.names, ...names } }, className, i);
}

/** Which of a class's real pictures lend each generated one their adapters: with one for each of them two, every pair as often, one pair after the other; else none in particular. */
function lendersOf({ mode, seed, generate: { perClass } }: DataDreamSettings, className: string, shots: number): number[][] {
  const all = Array.from({ length: shots }, (_, i) => i);
  const pairs = mode === 'picture' ? all.flatMap((a) => all.slice(a + 1).map((b) => [a, b])) : [];
  const chance = new Map(pairs.map((pair) => [pair, createHash('sha256').update(`${seed}:${className}:${pair.join(':')}`).digest('hex')]));
  const drawn = pairs.sort((a, b) => ((chance.get(a) ?? '') < (chance.get(b) ?? '') ? -1 : 1)).slice(0, perClass);
  return Array.from({ length: perClass }, (_, i) => drawn[Math.floor((i * drawn.length) / perClass)] ?? all);
}

/** What the pictures of a class share, for each value of the schedules in turn. */
function callsOf(sd: Diffusion, { generate: { steps, guidanceScale, sampler, seedPolicy, init, strength }, seed, threads }: DataDreamSettings, className: string): PictureCall[] {
  const [guidances, strengths] = [[guidanceScale].flat(), [strength].flat()];
  const shared = { ...sizeOf(sd), steps, seed: seedPolicy === 'perClassRestart' ? seed : classSeed(seed, className), ...(sampler && { sampler }), ...(threads && { threads }) };
  const turns = init === 'real' ? leastCommonMultiple(guidances.length, strengths.length) : guidances.length;
  return Array.from({ length: turns }, (_, i) => ({ ...shared, guidanceScale: guidances[i % guidances.length] as number, ...(init === 'real' && { strength: strengths[i % strengths.length] as number }) }));
}

/** Of generated pictures: what the model was trained on. */
const sizeOf = ({ info: { imageSize } }: Diffusion): { width: number; height: number } => ({ width: imageSize, height: imageSize });

function leastCommonMultiple(a: number, b: number): number {
  let multiple = a;
  while (multiple % b !== 0) multiple += a;
  return multiple;
}

/** Far from those of other classes: picture i has the seed plus i. */
function classSeed(seed: number, className: string): number {
  return createHash('sha256').update(`${seed}:${className}`).digest().readUIntBE(0, 5);
}

async function sha256Of(path: string): Promise<string> {
  const bytes = await readFile(path).catch((error: unknown) => {
    throw errorFromFile(error, 'read', path);
  });
  return createHash('sha256').update(bytes).digest('hex');
}

