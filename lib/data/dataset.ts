import { createHash } from 'node:crypto';
import { ArgumentError, SeedbedError } from '../errors.js';
import { decodeImage, type Image } from '../image.js';
import { checkOptions, seed as seedSchema, share } from '../options.js';
import { z } from 'zod';

/** One labelled picture. */
export interface Sample {
  /** Unique within its dataset; a path below the dataset's folder where there is one. */
  key: string;
  image: Image;
  /** Index into the dataset's classes. */
  label: number;
  className: string;
  /** A text about this picture, where the data have one. */
  caption?: string;
}

/** A picture that was left out, and why. */
export interface Skipped {
  key: string;
  reason: string;
}

/** Where a picture comes from: its encoded bytes, or pixels. */
export interface Entry {
  readonly key: string;
  readonly label: number;
  read(): Promise<Uint8Array | Image>;
  caption?(): Promise<string | undefined>;
}

/** What a part of the data may be used for. Nothing is ever trained or chosen on `test`. */
export type Role = 'train' | 'validation' | 'test';

const PARALLEL_READS = 8;

/** An empty text is none. */
async function captionOf(entry: Entry): Promise<string | undefined> {
  return (await entry.caption?.())?.trim() || undefined;
}

const subsetSchema = z.strictObject({
  /** Pictures per class. */
  shots: z.int().min(1),
  /** Which ones: a smaller subset of the same seed lies inside a larger one. Default 0. */
  seed: seedSchema.optional(),
});

const splitSchema = z.strictObject({
  /** Share of each class that becomes the validation part. Default 0. */
  validation: share.optional(),
  /** Share of each class that becomes the test part. Default 0. */
  test: share.optional(),
  seed: seedSchema.optional(),
});

export type SubsetOptions = z.input<typeof subsetSchema>;
export type SplitOptions = z.input<typeof splitSchema>;

/** Labelled pictures, decoded when they are read. Immutable: subsets and splits are new datasets over the same entries. */
export class Dataset {
  readonly name: string;
  readonly classes: readonly string[];
  /** Set by `split` and `as`. */
  readonly role: Role | undefined;
  /** What `onCorrupt: 'skip'` left out when the dataset was opened. */
  readonly skipped: readonly Skipped[];
  readonly #entries: readonly Entry[];

  constructor(init: { name: string; classes: readonly string[]; entries: readonly Entry[]; role?: Role | undefined; skipped?: readonly Skipped[] }) {
    this.name = init.name;
    this.classes = init.classes;
    this.role = init.role;
    this.skipped = init.skipped ?? [];
    this.#entries = init.entries;
  }

  get length(): number {
    return this.#entries.length;
  }

  get labels(): number[] {
    return this.#entries.map((entry) => entry.label);
  }

  get keys(): string[] {
    return this.#entries.map((entry) => entry.key);
  }

  /** Pictures per class, in the order of `classes`. */
  get counts(): number[] {
    const counts = this.classes.map(() => 0);
    for (const { label } of this.#entries) counts[label] = (counts[label] ?? 0) + 1;
    return counts;
  }

  /** Reads and decodes picture `i`. Throws `ERR_IMAGE` naming the file when it is not one. */
  async get(i: number): Promise<Sample> {
    const entry = this.#entries[i];
    if (entry === undefined) throw new ArgumentError(`Expected an index from 0 to ${this.length - 1} for get, received ${i}`);
    const content = await entry.read();
    const image = content instanceof Uint8Array ? await decodeImage(content, entry.key) : content;
    const caption = await captionOf(entry);
    return { key: entry.key, image, label: entry.label, className: this.classes[entry.label] ?? '', ...(caption !== undefined && { caption }) };
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Sample, void, void> {
    for (let i = 0; i < this.length; i++) yield await this.get(i);
  }

  /** The pictures' own texts, in their order; undefined where there is none. No picture is read. */
  async captions(): Promise<(string | undefined)[]> {
    const captions = new Array<string | undefined>(this.length);
    await this.#forEach(async (entry, i) => void (captions[i] = await captionOf(entry)));
    return captions;
  }

  /** All pictures, decoded a few at a time; with `view`, what it makes of each, so that large ones need not be in memory together. The first that cannot be decoded is named, with the count of all that cannot. */
  async load(): Promise<Sample[]>;
  async load<T>(view: (sample: Sample) => T): Promise<T[]>;
  async load(view: (sample: Sample) => unknown = (sample) => sample): Promise<unknown[]> {
    const samples = new Array<unknown>(this.length);
    const failures = await this.#decodeAll((sample, i) => (samples[i] = view(sample)));
    const [first] = failures;
    if (first !== undefined) {
      const count = failures.length === 1 ? '' : ` (and ${failures.length - 1} more)`;
      throw new SeedbedError('ERR_IMAGE', `${first.reason}${count}; open the dataset with onCorrupt: 'skip' to leave such files out`);
    }
    return samples;
  }

  /** A dataset without the pictures that cannot be decoded; those are listed in its `skipped`. Few pictures are in memory at once. */
  async withoutCorrupt(): Promise<Dataset> {
    const good = new Set<number>();
    const failures = await this.#decodeAll((_, i) => good.add(i));
    const entries = this.#entries.filter((_, i) => good.has(i));
    return new Dataset({ ...this.#init(), entries, skipped: [...this.skipped, ...failures] });
  }

  async #decodeAll(onSample: (sample: Sample, i: number) => void): Promise<Skipped[]> {
    const failures: (Skipped | undefined)[] = [];
    await this.#forEach(async ({ key }, i) => {
      try {
        onSample(await this.get(i), i);
      } catch (error) {
        if (!(error instanceof SeedbedError)) throw error;
        failures[i] = { key, reason: error.message };
      }
    });
    return failures.filter((failure) => failure !== undefined);
  }

  /** A few at a time. */
  async #forEach(work: (entry: Entry, i: number) => Promise<void>): Promise<void> {
    const entries = this.#entries.entries();
    const worker = async (): Promise<void> => {
      for (const [i, entry] of entries) await work(entry, i);
    };
    await Promise.all(Array.from({ length: PARALLEL_READS }, worker));
  }

  #init(): { name: string; classes: readonly string[]; role: Role | undefined; skipped: readonly Skipped[] } {
    return { name: this.name, classes: this.classes, role: this.role, skipped: this.skipped };
  }

  /** The same pictures under another name. */
  named(name: string): Dataset {
    return new Dataset({ ...this.#init(), name, entries: this.#entries });
  }

  /** The same pictures with a role. */
  as(role: Role): Dataset {
    return new Dataset({ ...this.#init(), entries: this.#entries, role });
  }

  /** The same pictures with captions of their own: what is on each, by its key. */
  captioned(text: (key: string) => string): Dataset {
    return new Dataset({ ...this.#init(), entries: this.#entries.map((entry) => ({ key: entry.key, label: entry.label, read: () => entry.read(), caption: () => Promise.resolve(text(entry.key)) })) });
  }

  /** The same pictures with classes in another order, or with more of them. Throws `ERR_DATASET` for pictures of a class that is not among them. */
  withClasses(classes: readonly string[]): Dataset {
    const labels = this.classes.map((name) => classes.indexOf(name));
    const unknown = this.#entries.find(({ label }) => (labels[label] ?? -1) < 0);
    if (unknown !== undefined) throw new SeedbedError('ERR_DATASET', `Expected the classes ${classes.join(', ')} in ${this.name}, found '${this.classes[unknown.label]}'`);
    const entries = this.#entries.map((entry) => ({ key: entry.key, label: labels[entry.label] as number, read: () => entry.read(), caption: () => captionOf(entry) }));
    return new Dataset({ ...this.#init(), classes, entries });
  }

  /** The first pictures of each class, at most so many. */
  firstOfEach(perClass: number): Dataset {
    const left = this.classes.map(() => perClass);
    return this.filter((_, label) => {
      const some = (left[label] ?? 0) > 0;
      left[label] = (left[label] ?? 0) - 1;
      return some;
    });
  }

  /** The same pictures in the order of their keys, however they were opened. */
  inKeyOrder(): Dataset {
    return new Dataset({ ...this.#init(), entries: [...this.#entries].sort((a, b) => (a.key < b.key ? -1 : 1)) });
  }

  /** The pictures of one class; the classes stay. */
  ofClass(name: string): Dataset {
    return this.filter((_, label) => this.classes[label] === name);
  }

  /** The pictures for which `keep(key, label)` holds. */
  filter(keep: (key: string, label: number) => boolean): Dataset {
    return new Dataset({ ...this.#init(), entries: this.#entries.filter(({ key, label }) => keep(key, label)) });
  }

  /**
   * `shots` pictures of each class. The rule: within a class, pictures are ordered by sha256 of "seed:key" and the first
   * are taken; so subsets of one seed are nested, and adding files changes as little as possible.
   * Throws `ERR_SHOTS` when a class has too few.
   */
  subset(options: SubsetOptions): Dataset {
    const { shots, seed = 0 } = checkOptions(subsetSchema, options, 'subset');
    const chosen = this.#ranked(seed).flatMap((entries, label) => {
      if (entries.length < shots) throw new SeedbedError('ERR_SHOTS', `Expected at least ${shots} pictures of class '${this.classes[label]}' in ${this.name}, found ${entries.length}`);
      return entries.slice(0, shots);
    });
    return new Dataset({ ...this.#init(), entries: this.#inOriginalOrder(chosen) });
  }

  /** Cuts each class by the same rule into parts that share no picture; what is left over is for training. */
  split(options: SplitOptions): Record<Role, Dataset> {
    const { validation = 0, test = 0, seed = 0 } = checkOptions(splitSchema, options, 'split');
    if (validation + test >= 1) throw new ArgumentError(`Expected validation and test shares that sum to less than 1, received ${validation} and ${test}`);
    const parts: Record<Role, Entry[]> = { train: [], validation: [], test: [] };
    for (const entries of this.#ranked(seed)) {
      const tests = Math.round(entries.length * test);
      const validations = Math.round(entries.length * validation);
      parts.test.push(...entries.slice(0, tests));
      parts.validation.push(...entries.slice(tests, tests + validations));
      parts.train.push(...entries.slice(tests + validations));
    }
    const make = (role: Role): Dataset => new Dataset({ ...this.#init(), entries: this.#inOriginalOrder(parts[role]), role });
    return { train: make('train'), validation: make('validation'), test: make('test') };
  }

  #ranked(seed: number): Entry[][] {
    const rank = new Map(this.#entries.map((entry) => [entry, createHash('sha256').update(`${seed}:${entry.key}`).digest('hex')]));
    const byRank = (a: Entry, b: Entry): number => ((rank.get(a) ?? '') < (rank.get(b) ?? '') ? -1 : 1);
    return this.classes.map((_, label) => this.#entries.filter((entry) => entry.label === label).sort(byRank));
  }

  #inOriginalOrder(chosen: readonly Entry[]): Entry[] {
    const set = new Set(chosen);
    return this.#entries.filter((entry) => set.has(entry));
  }
}
