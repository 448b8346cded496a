import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Dataset, Sample } from '../../data/dataset.js';
import { pixelDigest } from '../../data/overlap.js';
import type { Diffusion } from '../../diffusion/diffusion.js';
import { makePictureFiles, planPictureFiles, type PictureFile, type PictureProgress } from '../../diffusion/picture-files.js';
import type { WarningEvent } from '../../diffusion/results.js';
import { ArgumentError, errorFromFile } from '../../errors.js';
import { squared } from '../../image.js';
import { follow, type JobContext } from '../../job.js';
import { trainLoras, type LoraClass, type LorasEvent } from '../../lora/train-many.js';
import { defined } from '../../options.js';
import { promptOf, type DataDreamSettings } from './options.js';
import type { Work } from './work.js';

/** Name of the adapter of all classes together. */
const ALL = 'all';
const MOST_BATCH = 8;

/** A picture of the run. */
export interface Made extends PictureFile {
  className: string;
  /** Relative to the folder of pictures. */
  name: string;
  /** The adapter's sha256. */
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

/** The adapters that this run's classes need, from one loaded model; those that are there stay. Stage A of the paper. */
export async function adapt(sd: Diffusion, shots: Dataset, settings: DataDreamSettings, work: Work, { signal, emit }: JobContext<ProduceEvent>): Promise<void> {
  const { epochs, steps, textEncoder, ...fields } = settings.adapt;
  const { shard, mode } = settings;
  if (mode === 'dataset' && shard !== undefined && shard.index > 1 && !existsSync(work.lora(ALL))) throw new ArgumentError(`Expected '${work.lora(ALL)}', the adapter of all classes: it is trained by shard 1, and must be the same for all`);
  const names = mode === 'dataset' ? [ALL] : ownClasses(settings, shots.classes);
  for (const [done, name] of names.entries()) {
    const part = mode === 'dataset' ? shots : shots.filter((_, label) => shots.classes[label] === name);
    const members = (await part.load()).sort((a, b) => (a.key < b.key ? -1 : 1));
    const batchSize = Math.min(fields.batchSize ?? MOST_BATCH, members.length);
    const call = { ...fields, batchSize, steps: steps ?? epochs * Math.ceil(members.length / batchSize), ...(!textEncoder && { textEncoderTargets: [] }) };
    const job = trainLoras(sd, [lesson(name, members, settings)], { ...defined({ ...call, threads: settings.threads }), folder: work.loras, resume: true, seed: settings.seed, signal });
    await follow(job, (event) => emit(event.type === 'class' ? { ...event, done, total: names.length } : event));
  }
}

const lesson = (name: string, members: readonly Sample[], settings: DataDreamSettings): LoraClass => ({
  name,
  images: members.map(({ image }) => image),
  prompt: members.map(({ className }, i) => promptOf(settings, className, i)),
});

/** All pictures of a class, and which of them are there. */
export async function planClass(sd: Diffusion, className: string, shots: Dataset, settings: DataDreamSettings, work: Work): Promise<Made[]> {
  const { perClass, init } = settings.generate;
  const own = init === 'noise' ? [] : (await shots.filter((_, label) => shots.classes[label] === className).load()).map(({ image }) => ({ image: squared(image), provenance: { imageSha256: pixelDigest(image) } }));
  const images = Array.from({ length: perClass }, (_, i) => own[i % own.length]).filter((one) => one !== undefined);
  const lora = await sha256Of(work.lora(settings.mode === 'dataset' ? ALL : className));
  const prompts = Array.from({ length: perClass }, (_, i) => promptOf(settings, className, i));
  const fileOf = (_: number, i: number): string => join(work.images, work.image(className, i));
  const files = await planPictureFiles(sd, callOf(settings, className), prompts, { fileOf, provenance: { class: className, lora }, ...(images.length > 0 && { images }) });
  return files.map((file, i) => ({ ...file, className, name: work.image(className, i), lora }));
}

/** Stage B of the paper: what is missing of this run's classes, with the adapter in the weights. */
export async function generate(sd: Diffusion, shots: Dataset, settings: DataDreamSettings, work: Work, { signal, emit }: JobContext<ProduceEvent>): Promise<void> {
  const own = ownClasses(settings, shots.classes);
  for (const [done, className] of own.entries()) {
    signal.throwIfAborted();
    emit({ type: 'generate', class: className, done, total: own.length });
    const files = await planClass(sd, className, shots, settings, work);
    if (files.every(({ exists }) => exists)) continue;
    const adapter = sd.loras.add(work.lora(settings.mode === 'dataset' ? ALL : className), { name: `data-dream/${settings.seed}/${className}` });
    try {
      sd.loras.merge(adapter.name);
      await mkdir(dirname(files[0]?.file ?? work.images), { recursive: true }).catch((error: unknown) => {
        throw errorFromFile(error, 'write', work.images);
      });
      const job = makePictureFiles(sd, callOf(settings, className), files, { batchSize: settings.generate.batchSize, signal });
      await follow(job, (event) => emit(event.type === 'warning' ? event : { ...event, class: className }));
    } finally {
      sd.loras.remove(adapter.name);
    }
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
