import { join } from 'node:path';
import type { Classifier } from '../../classifier.js';
import type { Dataset } from '../../data/dataset.js';
import { METADATA_FILE } from '../../data/metadata.js';
import { TwinFinder } from '../../data/preflight.js';
import { writeFileWhole } from '../../files.js';
import { readImage, type Image } from '../../image.js';
import type { DataDreamSettings } from './options.js';
import type { Made } from './produce.js';
import type { Work } from './work.js';

const AT_ONCE = 64; // pictures in memory
const SHOWN = { kept: 8, dropped: 3 }; // of each class, in the report

/** Why a picture is left out. */
export type Dropped = { kind: 'twin'; of: string } | { kind: 'unsure'; agreement: number };

/** What was found out about a generated picture. */
interface Scored {
  made: Made;
  /** How sure a classifier of the real pictures is of its class, in [0, 1]; undefined where none was asked. */
  agreement: number | undefined;
  /** Undefined: it stays. */
  dropped: Dropped | undefined;
}

/** The generated pictures of a class. */
export interface GrownClass {
  name: string;
  /** What the first was asked for with. */
  prompt: string;
  generated: number;
  dropped: Record<Dropped['kind'], number>;
  /** Files of the first that stay and that do not. */
  shown: { kept: string[]; dropped: string[] };
}

interface Options {
  filter: DataDreamSettings['filter'];
  /** Of the real pictures; may be missing. */
  classifier: Classifier | undefined;
  threads: number | undefined;
  signal: AbortSignal;
}

/**
 * Decides which pictures stay, class after class, and writes metadata.jsonl of those and a list of the others. `planned` gives the pictures of a class. Of a
 * class whose pictures are all of no use the first stays.
 */
export async function filterPictures(real: Dataset, planned: (className: string) => Promise<Made[]>, work: Work, options: Options, onDone: (done: number, total: number) => void): Promise<GrownClass[]> {
  const classes: GrownClass[] = [];
  const left: string[] = [];
  async function* rows(): AsyncGenerator<string> {
    for (const [label, name] of real.classes.entries()) {
      options.signal.throwIfAborted();
      const scored = await filterClass(await planned(name), real.filter((_, own) => own === label), options);
      classes.push(summaryOf(name, scored));
      left.push(...scored.filter(({ dropped }) => dropped !== undefined).map(rowOf));
      onDone(label + 1, real.classes.length);
      yield scored.filter(({ dropped }) => dropped === undefined).map(rowOf).join('');
    }
  }
  await writeFileWhole(join(work.images, METADATA_FILE), rows());
  await writeFileWhole(work.dropped, left.join(''));
  return classes;
}

async function filterClass(pictures: readonly Made[], real: Dataset, { filter, classifier, threads, signal }: Options): Promise<Scored[]> {
  if (filter === false) return pictures.map((made) => ({ made, agreement: undefined, dropped: undefined }));
  const finder = new TwinFinder();
  if (filter.twins) for await (const { key, image } of real) finder.find(key, image);
  const scored: Scored[] = [];
  for (let first = 0; first < pictures.length; first += AT_ONCE) {
    signal.throwIfAborted();
    const part = pictures.slice(first, first + AT_ONCE);
    const images = await Promise.all(part.map(({ file }) => readImage(file)));
    const sure = classifier && (await agreementOf(classifier, images, part, { ...(threads && { threads }), signal }));
    for (const [i, made] of part.entries()) {
      const twin = filter.twins ? finder.find(made.name, images[i] as Image) : undefined;
      scored.push({ made, agreement: sure?.[i], dropped: twin === undefined ? undefined : { kind: 'twin', of: twin } });
    }
  }
  dropUnsure(scored, filter.keep);
  const [one] = scored;
  if (one !== undefined && scored.every(({ dropped }) => dropped !== undefined)) one.dropped = undefined;
  return scored;
}

async function agreementOf(classifier: Classifier, images: readonly Image[], part: readonly Made[], options: { threads?: number; signal: AbortSignal }): Promise<number[]> {
  const answers = await classifier.predict(images, options);
  return answers.map(({ probabilities }, i) => probabilities[classifier.classes.indexOf((part[i] as Made).className)] ?? 0);
}

/** Those that agree least, until the share `keep` of all is left. */
function dropUnsure(scored: readonly Scored[], keep: number): void {
  const kept = scored.filter(({ dropped }) => dropped === undefined).sort((a, b) => (b.agreement ?? 0) - (a.agreement ?? 0));
  for (const one of kept.slice(Math.ceil(keep * scored.length))) one.dropped = { kind: 'unsure', agreement: one.agreement ?? 0 };
}

function summaryOf(name: string, scored: readonly Scored[]): GrownClass {
  const count = (kind: Dropped['kind']): number => scored.filter(({ dropped }) => dropped?.kind === kind).length;
  const files = (left: boolean, most: number): string[] => scored.filter(({ dropped }) => (dropped !== undefined) === left).slice(0, most).map(({ made }) => made.file);
  return { name, prompt: scored[0]?.made.prompt ?? '', generated: scored.length, dropped: { twin: count('twin'), unsure: count('unsure') }, shown: { kept: files(false, SHOWN.kept), dropped: files(true, SHOWN.dropped) } };
}

function rowOf({ made, agreement, dropped }: Scored): string {
  const why = dropped && (dropped.kind === 'twin' ? `looks like ${dropped.of}` : `the classifier of the real pictures sees ${(100 * dropped.agreement).toFixed(0)} % of its class in it`);
  return `${JSON.stringify({ file_name: made.name, label: made.className, text: made.prompt, seed: made.seed, lora: made.lora, ...(agreement !== undefined && { agreement: Number(agreement.toFixed(4)) }), ...(why !== undefined && { dropped: why }) })}\n`;
}
