import { rm } from 'node:fs/promises';
import { loadClassifier } from '../../classifier.js';
import { loadClip } from '../../clip.js';
import type { Dataset } from '../../data/dataset.js';
import { openMetadata } from '../../data/metadata.js';
import { writeDataset } from '../../data/write.js';
import type { Preflight } from '../../data/preflight.js';
import type { Diffusion } from '../../diffusion/diffusion.js';
import { loadDiffusion, placementOf, type FetchEvent } from '../../diffusion/load.js';
import { lookForPictures } from '../../diffusion/picture-files.js';
import { ArgumentError } from '../../errors.js';
import { writeFileWhole } from '../../files.js';
import { follow, Job, type JobContext } from '../../job.js';
import type { LoadEvent } from '../../native.js';
import { checkOptions } from '../../options.js';
import { writeRecord, type Part } from '../../report/record.js';
import { renderReport } from '../../report/report.js';
import type { ModelDtype } from '../../tensor.js';
import { compareArms, initOf, type CompareEvent, type Gain } from './compare.js';
import { filterPictures, originsOf, type GrownClass } from './filter.js';
import { openJudges } from './judges.js';
import { clipOf, dataDreamSchema, judgeOf, settingsOf, type DataDreamOptions, type DataDreamSettings } from './options.js';
import { adapt, checkAdapters, generate, unfinished, type ProduceEvent } from './produce.js';
import { planClass, type Made } from './plan.js';
import { openReal, type RealPictures } from './real.js';
import { growRecord } from './record.js';
import { claimWork, digestOf, notedDtype, openWork, specOf, type Spec, type Work } from './work.js';

export type Stage = 'check' | 'load' | 'adapt' | 'generate' | 'filter' | 'write' | 'compare' | 'report';

export type DataDreamEvent =
  | { type: 'stage'; stage: Stage; detail: string }
  /** Classes whose pictures were looked at. */
  | { type: 'filter'; done: number; total: number }
  | LoadEvent
  | FetchEvent
  | ProduceEvent
  | { type: 'compare'; event: CompareEvent };

/** A finished run; or, of a shard, as much as it could do. */
export interface DataDreamResult {
  folder: string;
  preflight: Preflight;
  /** What was learnt from, and what was held out. */
  real: { train: Dataset; test: Dataset | undefined };
  /** Of all classes; undefined while other shards are at work. */
  classes: GrownClass[] | undefined;
  /** The pictures that stay, ready for `trainClassifier({ synthetic })`. */
  synthetic: Dataset | undefined;
  /** Undefined where nothing was held out or `compare` was false. */
  gain: Gain | undefined;
  /** Why there is no comparison. */
  notCompared: string | undefined;
  /** Seconds of each stage, of this call alone. */
  parts: Part[];
  settings: DataDreamSettings;
}

/**
 * Grows a dataset from a few labelled pictures (DataDream, ECCV 2024, arXiv 2407.10910): adapts a diffusion model to them with LoRA, generates pictures of each
 * class, leaves out what is of no use, says by classifiers on held-out real pictures what that gained, and writes a report. Defaults are the paper's but for the model,
 * seeds per picture, and twins left out. Files are written whole; a run that was stopped goes on in the same folder, with the same bytes.
 * `await dataDream({ data: 'photos', out: 'grown' })`.
 * Throws `ERR_INVALID_ARGUMENT`, `ERR_DATASET`, `ERR_SHOTS`, `ERR_IMAGE`, `ERR_DATA_LEAK`, and what `loadDiffusion` and `trainLora` throw.
 */
export function dataDream(options: DataDreamOptions): Job<DataDreamEvent, DataDreamResult> {
  const settings = settingsOf(checkOptions(dataDreamSchema, options, 'dataDream'));
  const { shard } = settings;
  if (shard !== undefined && shard.index > shard.count) throw new ArgumentError(`Expected a shard from 1 to ${shard.count}, received ${shard.index}`);
  if (judgeOf(settings.filter) === 'classifier' && settings.compare === false) throw new ArgumentError("Expected compare with filter.keep or filter.agreementPercentile, which ask a classifier of the real pictures; or judge 'clip'");
  return new Job<DataDreamEvent, DataDreamResult>((context) => new Run(settings, context).run(), settings);
}

/** Numbers that adapters are learnt in, and pictures drawn. */
interface Numbers {
  learnt: ModelDtype;
  drawn: ModelDtype;
}

/** Anew, whole or not at all. */
async function writeShards(synthetic: Dataset, work: Work): Promise<void> {
  await rm(work.shards, { recursive: true, force: true });
  await writeDataset(work.shards, synthetic, { format: 'webdataset' });
}

/** Numbers to learn and to draw in: a run that goes on keeps its own. Throws `ERR_INVALID_ARGUMENT` for numbers that there are not here. */
async function numbersOf({ model, generate: { dtype: asked = 'auto' }, out, shard }: DataDreamSettings): Promise<Numbers> {
  if (typeof model === 'string') {
    const noted = asked === 'auto' ? await notedDtype(out) : undefined;
    if (shard !== undefined && asked === 'auto' && noted === undefined) return { learnt: 'float32', drawn: 'float32' }; // the same on every machine
    return { learnt: 'float32', drawn: placementOf({ device: 'auto', dtype: noted ?? asked }).dtype };
  }
  const { dtype } = model.info;
  if (asked !== 'auto' && asked !== dtype) throw new ArgumentError(`Expected generate.dtype ${dtype}, as the loaded model has it, received ${asked}`);
  return { learnt: dtype, drawn: dtype };
}

const ADAPTERS = { class: 'an adapter for each class', dataset: 'one adapter', picture: 'an adapter for each picture' } as const;

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
    const { model } = settings;
    const name = typeof model === 'string' ? model : model.info.model;
    const { real, work, spec, numbers } = await this.#stage('check', 'the pictures and settings', async () => {
      const opened = await openReal(settings, this.#context.signal);
      await this.#checkStarts();
      const numbers = await numbersOf(settings);
      settings.generate.dtype = numbers.drawn;
      const decided = specOf(settings, { model: name, data: await digestOf(opened.train, settings), learnt: numbers.learnt });
      return { real: opened, numbers, spec: decided, work: await openWork(settings, decided) };
    });
    const { train, test, preflight } = real;
    const classes = await this.#produce(train, work, spec, numbers);
    const common = { folder: work.folder, preflight, real: { train, test }, parts: this.#parts, settings };
    if (classes === undefined) return { ...common, classes, synthetic: undefined, gain: undefined, notCompared: 'other shards are at work' };
    const synthetic = (await openMetadata(work.images)).withClasses(train.classes);
    if (settings.format === 'webdataset') await this.#stage('write', work.shards, () => writeShards(synthetic, work));
    const gain = await this.#compare(real, synthetic, work);
    const result = { ...common, classes, synthetic, gain, notCompared: real.notCompared };
    await this.#stage('report', work.report, async () => {
      const record = await growRecord(result, name);
      await writeRecord(work.record, record);
      await writeFileWhole(work.report, await renderReport(record));
    });
    return result;
  }

  /** What the comparison begins with is there. */
  async #checkStarts(): Promise<void> {
    const { compare, filter } = this.#settings;
    const judge = clipOf(filter);
    if (judge !== undefined) (await loadClip(judge)).dispose();
    if (compare === false) return;
    const { init } = initOf(compare);
    const start = compare.clip !== undefined ? await loadClip(compare.clip) : init === undefined ? undefined : await loadClassifier(init);
    start?.dispose();
  }

  async #stage<T>(stage: Stage, detail: string, work: () => Promise<T>): Promise<T> {
    this.#context.emit({ type: 'stage', stage, detail });
    const begin = performance.now();
    const result = await work();
    this.#parts.push({ name: stage, seconds: (performance.now() - begin) / 1000 });
    return result;
  }

  /** Adapters, pictures, and which of them stay; undefined while those of other shards are missing. */
  async #produce(train: Dataset, work: Work, spec: Spec, { learnt, drawn }: Numbers): Promise<GrownClass[] | undefined> {
    const settings = this.#settings;
    const { mode, filter, generate: wanted } = settings;
    const learn = async (sd: Diffusion): Promise<void> => {
      checkAdapters(sd);
      await claimWork(work, spec); // now that there is a model: the name of one that is not there would stay
      await this.#stage('adapt', ADAPTERS[mode], () => adapt(sd, train, settings, work, this.#context));
    };
    const make = async (sd: Diffusion): Promise<GrownClass[] | undefined> => {
      await this.#stage('generate', `${wanted.perClass} pictures of each class`, () => generate(sd, train, settings, work, this.#context));
      if (unfinished(train.classes, settings, work).length > 0) return undefined;
      return this.#stage('filter', filter === false ? 'nothing is left out' : 'what is of no use', () => this.#filter(sd, train, work));
    };
    if (learnt === drawn) return this.#withModel(drawn, async (sd) => (await learn(sd), make(sd)));
    await this.#withModel(learnt, learn);
    return this.#withModel(drawn, make);
  }

  /** Calls with the model; one that is loaded here is gone afterwards. */
  async #withModel<T>(dtype: ModelDtype, use: (sd: Diffusion) => Promise<T>): Promise<T> {
    const { model, threads } = this.#settings;
    if (typeof model !== 'string') return use(model);
    const { emit, signal } = this.#context;
    const sd = await this.#stage('load', `${model} in ${dtype}`, () => follow(loadDiffusion(model, { dtype, ...(threads && { threads }), signal }), emit));
    try {
      return await use(sd);
    } finally {
      sd.dispose();
    }
  }

  async #filter(sd: Diffusion, train: Dataset, work: Work): Promise<GrownClass[]> {
    const { filter, shard, threads } = this.#settings;
    const { emit, signal } = this.#context;
    const judges = await openJudges(train, this.#settings, { ...(threads && { threads }), signal });
    try {
      const planned = async (className: string): Promise<Made[]> => {
        const pictures = await planClass(sd, className, train, this.#settings, work);
        if (shard !== undefined) await lookForPictures(pictures); // others made some of them
        return pictures;
      };
      return await filterPictures(train, planned, work, { filter, judges, threads, signal }, (done, total) => emit({ type: 'filter', done, total }));
    } finally {
      judges[Symbol.dispose]();
    }
  }

  async #compare({ train, test }: RealPictures, synthetic: Dataset, work: Work): Promise<Gain | undefined> {
    const { compare } = this.#settings;
    if (test === undefined || compare === false) return undefined;
    const { emit, signal } = this.#context;
    const detail = `classifiers with and without generated pictures, ${compare.seeds} run${compare.seeds === 1 ? '' : 's'} each`;
    return this.#stage('compare', detail, () => compareArms({ train, synthetic, test, origins: () => originsOf(work) }, { ...this.#settings, compare }, { signal, emit: (event) => emit({ type: 'compare', event }) }));
  }
}
