import { join } from 'node:path';
import type { Classifier } from '../../classifier.js';
import { METADATA_FILE } from '../../data/metadata.js';
import { TwinFinder } from '../../data/preflight.js';
import { writeFileWhole } from '../../files.js';
import { readImage, type Image } from '../../image.js';
import type { Sample } from '../../data/dataset.js';
import type { DataDreamSettings } from './options.js';
import type { Made } from './produce.js';
import type { Work } from './work.js';

const AT_ONCE = 64; // pictures in memory

/** What was found out about a generated picture. */
export interface Scored {
  made: Made;
  /** How sure a classifier of the real pictures is of its class, in [0, 1]; undefined where none was asked. */
  agreement: number | undefined;
  /** Why it is left out; undefined: it is not. */
  dropped: string | undefined;
}

interface Options {
  filter: DataDreamSettings['filter'];
  /** Of the real pictures; may be missing. */
  classifier: Classifier | undefined;
  threads?: number | undefined;
  signal: AbortSignal;
  onDone: (done: number, total: number) => void;
}

/** Scores all pictures, and says of each whether it stays. */
export async function filterPictures(pictures: readonly Made[], real: readonly Sample[], { filter, classifier, threads, signal, onDone }: Options): Promise<Scored[]> {
  const finders = new Map<string, TwinFinder>();
  for (const { className, key, image } of real) finderOf(finders, className).find(key, image);
  const scored: Scored[] = [];
  for (let first = 0; first < pictures.length; first += AT_ONCE) {
    const part = pictures.slice(first, first + AT_ONCE);
    const images = await Promise.all(part.map(({ file }) => readImage(file)));
    const sure = await agreementOf(classifier, images, part, { threads, signal });
    for (const [i, made] of part.entries()) {
      const twin = filter !== false && filter.twins ? finderOf(finders, made.className).find(made.name, images[i] as Image) : undefined;
      scored.push({ made, agreement: sure?.[i], dropped: twin === undefined ? undefined : `looks like ${twin}` });
    }
    onDone(scored.length, pictures.length);
  }
  if (filter !== false && filter.keep < 1) dropUnsure(scored, filter.keep);
  return scored;
}

function finderOf(finders: Map<string, TwinFinder>, className: string): TwinFinder {
  const finder = finders.get(className) ?? new TwinFinder();
  finders.set(className, finder);
  return finder;
}

async function agreementOf(classifier: Classifier | undefined, images: readonly Image[], part: readonly Made[], { threads, signal }: { threads: number | undefined; signal: AbortSignal }): Promise<number[] | undefined> {
  if (classifier === undefined) return undefined;
  const answers = await classifier.predict(images, { ...(threads && { threads }), signal });
  return answers.map(({ probabilities }, i) => probabilities[classifier.classes.indexOf((part[i] as Made).className)] ?? 0);
}

/** Of each class, those that agree least, until the share `keep` of all is left. */
function dropUnsure(scored: Scored[], keep: number): void {
  for (const className of new Set(scored.map(({ made }) => made.className))) {
    const own = scored.filter(({ made }) => made.className === className);
    const kept = own.filter(({ dropped }) => dropped === undefined).sort((a, b) => (b.agreement ?? 0) - (a.agreement ?? 0));
    for (const one of kept.slice(Math.ceil(keep * own.length))) one.dropped = `the classifier of the real pictures sees ${((one.agreement ?? 0) * 100).toFixed(0)} % of its class in it`;
  }
}

/** metadata.jsonl of the pictures that stay, and a list of the others beside the folder. */
export async function writeMetadata(scored: readonly Scored[], work: Work): Promise<void> {
  const row = ({ made, agreement, dropped }: Scored): string =>
    JSON.stringify({ file_name: made.name, label: made.className, text: made.prompt, seed: made.seed, lora: made.lora, ...(agreement !== undefined && { agreement: Number(agreement.toFixed(4)) }), ...(dropped !== undefined && { dropped }) });
  const lines = (list: readonly Scored[]): string => list.map((one) => `${row(one)}\n`).join('');
  await writeFileWhole(join(work.images, METADATA_FILE), lines(scored.filter(({ dropped }) => dropped === undefined)));
  await writeFileWhole(work.dropped, lines(scored.filter(({ dropped }) => dropped !== undefined)));
}
