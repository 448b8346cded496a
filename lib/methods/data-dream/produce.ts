import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Dataset, Sample } from '../../data/dataset.js';
import type { Diffusion } from '../../diffusion/diffusion.js';
import { makePictureFiles, planPictureFiles, type PictureFile, type PictureProgress } from '../../diffusion/picture-files.js';
import type { WarningEvent } from '../../diffusion/results.js';
import { errorFromFile } from '../../errors.js';
import { follow, type JobContext } from '../../job.js';
import { trainLoras, type LoraClass, type LorasEvent } from '../../lora/train-many.js';
import { defined } from '../../options.js';
import { promptOf, type DataDreamSettings } from './options.js';
import type { Work } from './work.js';

/** Name of the adapter of all classes together. */
const ALL = 'all';

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

/** The adapters that this run's classes need, from one loaded model; those that are there stay. Stage A of the paper. */
export async function adapt(sd: Diffusion, shots: Dataset, settings: DataDreamSettings, work: Work, { signal, emit }: JobContext<ProduceEvent>): Promise<void> {
  const { epochs: _, steps, textEncoder, ...fields } = settings.adapt;
  const samples = (await shots.load()).sort((a, b) => (a.key < b.key ? -1 : 1));
  const own = new Set(ownClasses(settings, shots.classes));
  const groups = settings.mode === 'dataset' ? [[ALL, samples] as const] : shots.classes.filter((name) => own.has(name)).map((name) => [name, samples.filter(({ className }) => className === name)] as const);
  for (const [name, members] of groups) {
    if (members.length === 0) continue;
    const batchSize = Math.min(fields.batchSize ?? 8, members.length);
    const call = { ...fields, batchSize, steps: steps ?? settings.adapt.epochs * Math.ceil(members.length / batchSize), ...(!textEncoder && { textEncoderTargets: [] }) };
    const job = trainLoras(sd, [lesson(name, members, settings)], { ...defined({ ...call, threads: settings.threads }), folder: work.loras, resume: true, seed: settings.seed, signal });
    await follow(job, (event) => emit(event.type === 'class' ? { ...event, done: groups.findIndex(([other]) => other === name), total: groups.length } : event));
  }
}

const lesson = (name: string, members: readonly Sample[], settings: DataDreamSettings): LoraClass => ({
  name,
  images: members.map(({ image }) => image),
  prompt: members.map(({ className }, i) => promptOf(settings, className, i)),
});

/** All pictures of a class, and which of them are there. */
export async function planClass(sd: Diffusion, className: string, settings: DataDreamSettings, work: Work): Promise<Made[]> {
  const { perClass } = settings.generate;
  const lora = await sha256Of(work.lora(settings.mode === 'dataset' ? ALL : className));
  const prompts = Array.from({ length: perClass }, (_, i) => promptOf(settings, className, i));
  const fileOf = (_: number, i: number): string => join(work.images, work.image(className, i));
  const files = await planPictureFiles(sd, callOf(settings, className), prompts, { fileOf, provenance: { class: className, lora } });
  return files.map((file, i) => ({ ...file, className, name: work.image(className, i), lora }));
}

/** Stage B of the paper: what is missing of this run's classes, with the adapter in the weights. */
export async function generate(sd: Diffusion, classes: readonly string[], settings: DataDreamSettings, work: Work, { signal, emit }: JobContext<ProduceEvent>): Promise<void> {
  const own = ownClasses(settings, classes);
  for (const [done, className] of own.entries()) {
    emit({ type: 'generate', class: className, done, total: own.length });
    const files = await planClass(sd, className, settings, work);
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

function callOf({ generate: { steps, guidanceScale, sampler, seedPolicy }, seed, threads }: DataDreamSettings, className: string) {
  return { steps, guidanceScale, seed: seedPolicy === 'perClassRestart' ? seed : classSeed(seed, className), ...(sampler && { sampler }), ...(threads && { threads }) };
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
