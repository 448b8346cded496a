import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Dataset, Sample } from '../../data/dataset.js';
import type { Diffusion } from '../../diffusion/diffusion.js';
import { lookForPictures, makePictureFiles, type PictureProgress } from '../../diffusion/picture-files.js';
import type { WarningEvent } from '../../diffusion/results.js';
import { ArgumentError, errorFromFile } from '../../errors.js';
import { follow, type JobContext } from '../../job.js';
import { trainingImage } from '../../lora/pictures.js';
import { trainLoras, type LorasEvent } from '../../lora/train-many.js';
import { defined } from '../../options.js';
import { adaptersOf, ALL, promptOf, type DataDreamSettings } from './options.js';
import { planClass, type Made } from './plan.js';
import type { Work } from './work.js';

const MOST_BATCH = 8;

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
  const groups = mode === 'dataset' ? [ALL] : ownClasses(settings, shots.classes);
  const { counts } = shots;
  const total = groups.reduce((sum, name) => sum + adaptersOf(settings, name, counts[shots.classes.indexOf(name)] ?? 0).length, 0);
  const view = { size: fields.size ?? sd.info.imageSize, crop: fields.crop };
  let done = 0;
  for (const group of groups) {
    const members = await (mode === 'dataset' ? shots : shots.ofClass(group)).load((sample) => ({ ...sample, image: trainingImage(sample.image, sample.key, view) }));
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
    if (isDeepStrictEqual(names, this.#names)) return;
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
        const { adapters, call } = files[first] as Made;
        while (files[last]?.call === call && isDeepStrictEqual(files[last]?.adapters, adapters)) last++;
        const part = files.slice(first, last);
        if (part.every(({ exists }) => exists)) continue;
        folded.use(adapters);
        const job = makePictureFiles(sd, call, part, { batchSize: settings.generate.batchSize, signal });
        const before = first;
        await follow(job, (event) => emit(event.type === 'warning' ? event : { ...event, class: className, picture: before + event.picture, pictures: files.length, share: (before + event.share * part.length) / files.length }));
      }
    }
  } finally {
    folded.release();
  }
}

/** Classes whose pictures are not all there yet. */
export function unfinished(classes: readonly string[], { generate: { perClass } }: DataDreamSettings, work: Work): string[] {
  return classes.filter((className) => Array.from({ length: perClass }, (_, i) => i).some((i) => !existsSync(join(work.images, work.image(className, i)))));
}
