import type { Classifier } from '../../classifier.js';
import type { Dataset } from '../../data/dataset.js';
import { openMetadata } from '../../data/metadata.js';
import { openDataset } from '../../data/open.js';
import { preflight, type Preflight } from '../../data/preflight.js';
import { loadDiffusion, type FetchEvent } from '../../diffusion/load.js';
import { ArgumentError, SeedbedError } from '../../errors.js';
import type { FewShotEvent } from '../../experiment/few-shot.js';
import { follow, Job, type JobContext } from '../../job.js';
import type { LoadEvent } from '../../native.js';
import { checkOptions } from '../../options.js';
import type { Part } from '../../report/record.js';
import { compareArms, realClassifier, type Gain } from './compare.js';
import { filterPictures, writeMetadata, type Scored } from './filter.js';
import { dataDreamSchema, type DataDreamOptions, type DataDreamSettings } from './options.js';
import { adapt, generate, planClass, unfinished, type Made, type ProduceEvent } from './produce.js';
import { digestOf, openWork, type Work } from './work.js';

const LEAST_TO_HOLD_OUT = 4; // pictures of a class

export const STAGES = ['check', 'adapt', 'generate', 'filter', 'compare'] as const;
export type Stage = (typeof STAGES)[number];

export type DataDreamEvent =
  | { type: 'stage'; stage: Stage; detail: string }
  | { type: 'score'; done: number; total: number }
  | LoadEvent
  | FetchEvent
  | ProduceEvent
  | ({ type: 'compare' } & { event: FewShotEvent });

/** A finished run; or, of a shard, as much as it could do. */
export interface DataDreamResult {
  folder: string;
  preflight: Preflight;
  /** Real pictures that were learnt from, per class. */
  shots: number[];
  classes: readonly string[];
  /** Of all classes; undefined while other shards are at work. */
  pictures: Scored[] | undefined;
  /** Kept pictures, ready for `trainClassifier({ synthetic })`. */
  synthetic: Dataset | undefined;
  /** Undefined where nothing was held out or `compare` was false. */
  gain: Gain | undefined;
  /** Why there is no comparison. */
  notCompared: string | undefined;
  parts: Part[];
  settings: DataDreamSettings;
  /** What was learnt from, and what was held out. */
  real: { train: Dataset; test: Dataset | undefined };
}

/**
 * Grows a dataset from a few labelled pictures (DataDream, ECCV 2024, arXiv 2407.10910): adapts a diffusion model to them with LoRA, generates pictures of each
 * class, leaves out what is of no use, and says by classifiers on held-out real pictures what that gained. Defaults are the paper's but for the model,
 * seeds per picture, and twins left out. Files are written whole; a run that was stopped goes on in the same folder, with the same bytes.
 * `await dataDream({ data: 'photos', out: 'grown' })`.
 * Throws `ERR_INVALID_ARGUMENT`, `ERR_DATASET`, `ERR_SHOTS`, `ERR_IMAGE`, `ERR_DATA_LEAK`, and what `loadDiffusion` and `trainLora` throw.
 */
export function dataDream(options: DataDreamOptions): Job<DataDreamEvent, DataDreamResult> {
  const settings = checkOptions(dataDreamSchema, options, 'dataDream');
  const { shard } = settings;
  if (shard !== undefined && shard.index > shard.count) throw new ArgumentError(`Expected a shard from 1 to ${shard.count}, received ${shard.index}`);
  if (settings.filter !== false && settings.filter.keep < 1 && settings.compare === false) throw new ArgumentError('Expected compare with filter.keep, which asks a classifier of the real pictures');
  return new Job<DataDreamEvent, DataDreamResult>((context) => new Run(settings, context).run(), settings);
}

/** Real pictures to learn from, and to measure on if any were left. */
interface RealPictures {
  train: Dataset;
  test: Dataset | undefined;
  notCompared: string | undefined;
}

class Run {
  readonly #settings: DataDreamSettings;
  readonly #context: JobContext<DataDreamEvent>;
  readonly #parts: Part[] = [];

  constructor(settings: DataDreamSettings, context: JobContext<DataDreamEvent>) {
    this.#settings = settings;
    this.#context = context;
  }

  async run(): Promise<DataDreamResult> {
    const settings = this.#settings;
    const { signal } = this.#context;
    const { real, checked } = await this.#stage('check', 'the pictures', async () => {
      const data = await opened(settings.data);
      const checked = await preflight(data, { signal });
      return { real: await divide(data, settings), checked };
    });
    const { train, test } = real;
    const { classes } = train;
    const work = await openWork(settings, { model: typeof settings.model === 'string' ? settings.model : settings.model.info.model, data: await digestOf(train) });
    const files = await this.#produce(train, work);
    const common = { folder: work.folder, preflight: checked, shots: train.counts, classes, parts: this.#parts, settings, real: { train, test } };
    if (files === undefined) return { ...common, pictures: undefined, synthetic: undefined, gain: undefined, notCompared: 'other shards are at work' };
    const pictures = await this.#stage('filter', settings.filter === false ? 'nothing is left out' : 'what is of no use', () => this.#filter(files, train, work));
    const synthetic = (await openMetadata(work.images)).withClasses(classes);
    const { compare } = settings;
    const gain =
      test === undefined || compare === false
        ? undefined
        : await this.#stage('compare', `classifiers with and without generated pictures, ${compare.seeds} runs each`, () =>
            compareArms({ train, synthetic, test }, { ...settings, compare }, { signal, emit: (event) => this.#context.emit({ type: 'compare', event }) }),
          );
    return { ...common, pictures, synthetic, gain, notCompared: gain === undefined ? (real.notCompared ?? 'it was not asked for') : undefined };
  }

  async #stage<T>(stage: Stage, detail: string, work: () => Promise<T>): Promise<T> {
    this.#context.emit({ type: 'stage', stage, detail });
    const begin = performance.now();
    const result = await work();
    this.#parts.push({ name: stage, seconds: (performance.now() - begin) / 1000 });
    return result;
  }

  /** Adapters and pictures; undefined while those of other shards are missing. */
  async #produce(train: Dataset, work: Work): Promise<Made[] | undefined> {
    const { model, threads, mode, generate: wanted } = this.#settings;
    const { emit, signal } = this.#context;
    const own = typeof model === 'string';
    const sd = own ? await follow(loadDiffusion(model, { dtype: 'float32', ...(threads && { threads }), signal }), emit) : model;
    try {
      await this.#stage('adapt', mode === 'class' ? 'an adapter for each class' : 'one adapter', () => adapt(sd, train, this.#settings, work, this.#context));
      await this.#stage('generate', `${wanted.perClass} pictures of each class`, () => generate(sd, train.classes, this.#settings, work, this.#context));
      if (unfinished(train.classes, this.#settings, work).length > 0) return undefined;
      const files: Made[] = [];
      for (const className of train.classes) files.push(...(await planClass(sd, className, this.#settings, work)));
      return files;
    } finally {
      if (own) sd.dispose();
    }
  }

  async #filter(files: readonly Made[], train: Dataset, work: Work): Promise<Scored[]> {
    const { compare, filter, seed, threads } = this.#settings;
    const { emit, signal } = this.#context;
    let classifier: Classifier | undefined;
    try {
      if (compare !== false && filter !== false && filter.keep < 1) classifier = await realClassifier(train, compare, { seed, threads, signal });
      const scored = await filterPictures(files, await train.load(), { filter, classifier, threads, signal, onDone: (done, total) => emit({ type: 'score', done, total }) });
      const empty = train.classes.find((name) => scored.every(({ made, dropped }) => made.className !== name || dropped !== undefined));
      if (empty !== undefined) throw new SeedbedError('ERR_DATASET', `Expected some generated pictures of '${empty}' to stay, all were dropped; generate more, or set filter to false`);
      await writeMetadata(scored, work);
      return scored;
    } finally {
      classifier?.dispose();
    }
  }
}

const opened = async (data: string | Dataset): Promise<Dataset> => (typeof data === 'string' ? openDataset(data, { onCorrupt: 'skip' }) : data);

/** What is learnt from and what is held out. */
async function divide(data: Dataset, { test, holdOut, shots, seed, compare }: DataDreamSettings): Promise<RealPictures> {
  if (data.role === 'test') throw new SeedbedError('ERR_DATA_LEAK', `Expected pictures to learn from for data, received the test part of ${data.name}`);
  const learnt = (part: Dataset): Dataset => {
    const empty = part.classes.find((_, i) => part.counts[i] === 0);
    if (empty !== undefined) throw new SeedbedError('ERR_SHOTS', `Expected at least one picture of class '${empty}' in ${part.name}, found none`);
    return (shots === undefined ? part : part.subset({ shots, seed })).as('train');
  };
  if (compare === false) return { train: learnt(data), test: undefined, notCompared: 'it was not asked for' };
  if (test !== undefined) return { train: learnt(data), test: (await opened(test)).withClasses(data.classes).as('test'), notCompared: undefined };
  if (holdOut === 0) return { train: learnt(data), test: undefined, notCompared: 'no picture was held out' };
  const parts = data.split({ test: holdOut, seed });
  const small = data.classes.filter((_, i) => (data.counts[i] ?? 0) < LEAST_TO_HOLD_OUT || parts.test.counts[i] === 0);
  if (small.length === 0) return { train: learnt(parts.train), test: parts.test, notCompared: undefined };
  return { train: learnt(data), test: undefined, notCompared: `${small.length} of ${data.classes.length} classes have too few pictures to hold some out ('${small[0]}' has ${data.counts[data.classes.indexOf(small[0] as string)]}); give some with the option test` };
}
