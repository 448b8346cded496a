import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Dataset, Sample } from '../../data/dataset.js';
import { pixelDigest } from '../../data/overlap.js';
import type { Diffusion } from '../../diffusion/diffusion.js';
import { lookForPictures, makePictureFiles, planPictureFiles, type PictureFile, type PictureProgress } from '../../diffusion/picture-files.js';
import type { WarningEvent } from '../../diffusion/results.js';
import { ArgumentError, errorFromFile } from '../../errors.js';
import { squared } from '../../image.js';
import { follow, type JobContext } from '../../job.js';
import { trainLoras, type LorasEvent } from '../../lora/train-many.js';
import { defined } from '../../options.js';
import { adaptersOf, ALL, promptOf, type DataDreamSettings } from './options.js';
import type { Work } from './work.js';

const MOST_BATCH = 8;

/** A picture of the run. */
export interface Made extends PictureFile {
  className: string;
  /** Relative to the folder of pictures. */
  name: string;
  /** Names of the adapters it is made with. */
  adapters: readonly string[];
  /** Their sha256, with + between them. */
  lora: string;
}

export type ProduceEvent = LorasEvent | WarningEvent | ({ class: string } & PictureProgress) | { type: 'generate'; class: string; done: number; total: number };

/** Classes of this run's shard. */
export function ownClasses({ shard }: DataDreamSettings, classes: readonly string[]): string[] {
  return classes.filter((_, i) => shard === undefined || i % shard.count === shard.index - 1);
}

/** Throws `ERR_INVALID_ARGUMENT` for a model whose pictures other adapters would change. */
export function checkAdapters(sd: Diffusion): void {
  const active = sd.loras.list().find(({ scale }) => scale !== 0);
  if (active !== undefined) throw new ArgumentError(`Expected a model without active adapters, '${active.name}' is one; remove it, or set its scale to 0`);
}

/** Real pictures of a class in an order that does not depend on how they were opened. */
async function membersOf(shots: Dataset, className: string): Promise<Sample[]> {
  return inOrder(await shots.filter((_, label) => shots.classes[label] === className).load());
}

async function captionsInOrder(members: Dataset): Promise<(string | undefined)[]> {
  const { keys } = members;
  const captions = await members.captions();
  return [...keys.keys()].sort((a, b) => ((keys[a] as string) < (keys[b] as string) ? -1 : 1)).map((i) => captions[i]);
}

const inOrder = (samples: readonly Sample[]): Sample[] => [...samples].sort((a, b) => (a.key < b.key ? -1 : 1));

/** The adapters that this run's classes need, from one loaded model; those that are there stay. Stage A of the paper. */
export async function adapt(sd: Diffusion, shots: Dataset, settings: DataDreamSettings, work: Work, { signal, emit }: JobContext<ProduceEvent>): Promise<void> {
  const { epochs, steps, textEncoder, ...fields } = settings.adapt;
  const { shard, mode } = settings;
  if (mode === 'dataset' && shard !== undefined && shard.index > 1 && !existsSync(work.lora(ALL))) throw new ArgumentError(`Expected '${work.lora(ALL)}', the adapter of all classes: it is trained by shard 1, and must be the same for all`);
  const groups = mode === 'dataset' ? [ALL] : ownClasses(settings, shots.classes);
  const total = mode === 'picture' ? groups.reduce((sum, name) => sum + (shots.counts[shots.classes.indexOf(name)] ?? 0), 0) : groups.length;
  let done = 0;
  for (const group of groups) {
    const members = mode === 'dataset' ? inOrder(await shots.load()) : await membersOf(shots, group);
    const prompts = members.map((member, i) => lessonOf(settings, member, i));
    for (const [i, name] of adaptersOf(settings, group, members.length).entries()) {
      const of = mode === 'picture' ? [i] : [...members.keys()];
      const batchSize = Math.min(fields.batchSize ?? MOST_BATCH, of.length);
      const call = { ...fields, batchSize, steps: steps ?? epochs * Math.ceil(of.length / batchSize), ...(!textEncoder && { textEncoderTargets: [] }) };
      const lesson = { name, images: of.map((i) => (members[i] as Sample).image), prompt: of.map((i) => prompts[i] as string) };
      const job = trainLoras(sd, [lesson], { ...defined({ ...call, threads: settings.threads }), folder: work.loras, resume: true, seed: settings.seed, signal });
      await follow(job, (event) => emit(event.type === 'class' ? { ...event, done, total } : event));
      done++;
    }
  }
}

/** What a real picture is learnt with. */
const lessonOf = (settings: DataDreamSettings, { className, caption }: Sample, i: number): string => (settings.captions ? caption : undefined) ?? promptOf(settings, className, i);

/** What picture `i` of a class is asked for with: a sentence of its own bank, a real picture's caption, or the sentence that was learnt. */
function questionOf(settings: DataDreamSettings, className: string, caption: string | undefined, i: number): string {
  const { template } = settings.generate;
  if (template !== undefined) return promptOf({ ...settings, template }, className, i);
  return caption ?? promptOf(settings, className, i);
}

/** Which of a class's real pictures lend each generated one their adapters: with one for each of them two, every pair as often, one pair after the other; else none in particular. */
function lenders({ mode, seed, generate: { perClass } }: DataDreamSettings, className: string, shots: number): number[][] {
  const all = Array.from({ length: shots }, (_, i) => i);
  const pairs = mode === 'picture' ? all.flatMap((a) => all.slice(a + 1).map((b) => [a, b])) : [];
  const chance = new Map(pairs.map((pair) => [pair, createHash('sha256').update(`${seed}:${className}:${pair.join(':')}`).digest('hex')]));
  const drawn = pairs.sort((a, b) => ((chance.get(a) ?? '') < (chance.get(b) ?? '') ? -1 : 1)).slice(0, perClass);
  return Array.from({ length: perClass }, (_, i) => drawn[Math.floor((i * drawn.length) / perClass)] ?? all);
}

/** All pictures of a class; none is looked for. */
export async function planClass(sd: Diffusion, className: string, shots: Dataset, settings: DataDreamSettings, work: Work): Promise<Made[]> {
  const { perClass, init } = settings.generate;
  const members = shots.filter((_, label) => shots.classes[label] === className);
  const captions = settings.captions && settings.generate.template === undefined ? await captionsInOrder(members) : [];
  const own = init === 'noise' ? [] : (await membersOf(shots, className)).map(({ image }) => ({ image: squared(image), provenance: { imageSha256: pixelDigest(image) } }));
  const lent = lenders(settings, className, members.length);
  // The real pictures in turn, of those whose adapters draw it.
  const partner = (i: number): number => {
    const of = lent[i] as number[];
    return of[i % of.length] as number;
  };
  const images = own.length === 0 ? [] : lent.map((_, i) => (own[partner(i)] as (typeof own)[number]).image);
  const names = adaptersOf(settings, className, members.length);
  const adapters = lent.map((of) => (settings.mode === 'picture' ? of.map((i) => names[i] as string) : names));
  const hashes = new Map<string, string>();
  for (const name of new Set(adapters.flat())) hashes.set(name, await sha256Of(work.lora(name)));
  const loras = adapters.map((names) => names.map((name) => hashes.get(name)).join('+'));
  const prompts = Array.from({ length: perClass }, (_, i) => questionOf(settings, className, captions[partner(i)], i));
  const fileOf = (_: number, i: number): string => join(work.images, work.image(className, i));
  const files = planPictureFiles(sd, callOf(settings, className), prompts, { fileOf, provenance: (i) => ({ class: className, lora: loras[i], ...own[partner(i)]?.provenance }), ...(images.length > 0 && { images }) });
  // Which of the run's adapters are in the model at this moment says nothing of the picture; `lora` does.
  const settingsOf = ({ loras: _, ...settings }: PictureFile['settings']): PictureFile['settings'] => settings;
  return files.map((file, i) => ({ ...file, settings: settingsOf(file.settings), className, name: work.image(className, i), adapters: adapters[i] as string[], lora: loras[i] as string }));
}

/** Adapters in the weights of a model, a sum of equal parts. */
class Folded {
  readonly #sd: Diffusion;
  readonly #fileOf: (name: string) => string;
  #names: readonly string[] = [];

  constructor(sd: Diffusion, fileOf: (name: string) => string) {
    this.#sd = sd;
    this.#fileOf = fileOf;
  }

  use(names: readonly string[]): void {
    if (names.join('\n') === this.#names.join('\n')) return;
    this.release();
    for (const name of names) {
      this.#sd.loras.add(this.#fileOf(name), { name: inModel(name), scale: 1 / names.length });
      this.#names = [...this.#names, name];
      this.#sd.loras.merge(inModel(name));
    }
  }

  release(): void {
    for (const name of this.#names) this.#sd.loras.remove(inModel(name));
    this.#names = [];
  }
}

const inModel = (name: string): string => `data-dream/${name}`;

/** Stage B of the paper: what is missing of this run's classes, with the adapters in the weights. */
export async function generate(sd: Diffusion, shots: Dataset, settings: DataDreamSettings, work: Work, { signal, emit }: JobContext<ProduceEvent>): Promise<void> {
  const own = ownClasses(settings, shots.classes);
  const folded = new Folded(sd, (name) => work.lora(name));
  try {
    for (const [done, className] of own.entries()) {
      signal.throwIfAborted();
      emit({ type: 'generate', class: className, done, total: own.length });
      const files = await planClass(sd, className, shots, settings, work);
      await lookForPictures(files);
      if (files.every(({ exists }) => exists)) continue;
      await mkdir(dirname(files[0]?.file ?? work.images), { recursive: true }).catch((error: unknown) => {
        throw errorFromFile(error, 'write', work.images);
      });
      for (let first = 0, last = 0; first < files.length; first = last) {
        const { adapters } = files[first] as Made;
        while (files[last]?.adapters.join('\n') === adapters.join('\n')) last++;
        const part = files.slice(first, last);
        if (part.every(({ exists }) => exists)) continue;
        folded.use(adapters);
        const job = makePictureFiles(sd, callOf(settings, className), part, { batchSize: settings.generate.batchSize, signal });
        const before = first;
        await follow(job, (event) => emit(event.type === 'warning' ? event : { ...event, class: className, picture: before + event.picture, pictures: files.length, share: (before + event.share * part.length) / files.length }));
      }
    }
  } finally {
    folded.release();
  }
}

function callOf({ generate: { steps, guidanceScale, sampler, seedPolicy, init, strength }, seed, threads }: DataDreamSettings, className: string) {
  return { steps, guidanceScale, seed: seedPolicy === 'perClassRestart' ? seed : classSeed(seed, className), ...(sampler && { sampler }), ...(threads && { threads }), ...(init === 'real' && { strength }) };
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

/** Classes whose pictures are not all there yet. */
export function unfinished(classes: readonly string[], { generate: { perClass } }: DataDreamSettings, work: Work): string[] {
  return classes.filter((className) => Array.from({ length: perClass }, (_, i) => i).some((i) => !existsSync(join(work.images, work.image(className, i)))));
}
