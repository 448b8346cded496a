import { join } from 'node:path';
import type { Dataset } from '../../data/dataset.js';
import { METADATA_FILE, readMetadata } from '../../data/metadata.js';
import { TwinFinder } from '../../data/preflight.js';
import { writeFileWhole } from '../../files.js';
import { heldImage } from '../../image-sets.js';
import { readImage, type Image } from '../../image.js';
import { agreementOf, type AskOptions, type Judges } from './judges.js';
import type { DataDreamSettings } from './options.js';
import type { Made } from './plan.js';
import { apart, featuresOf } from './views.js';
import type { Work } from './work.js';

const AT_ONCE = 64; // pictures in memory
const SHOWN = { kept: 8, dropped: 3 }; // of each class, in the report

/** Why a picture is left out. */
export type Dropped = { kind: 'twin'; of: string } | { kind: 'unsure' } | { kind: 'far' } | { kind: 'spare' };

/** What was found out about a generated picture. */
interface Scored {
  made: Made;
  /** How sure the judge is of its class, in [0, 1]; undefined where none was asked. */
  agreement: number | undefined;
  /** As the dual encoder sees it, of length 1, and its distance to the nearest real picture of its class, 1 - cosine; undefined where none was asked. */
  features: Float32Array | undefined;
  distance: number | undefined;
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
  judges: Judges;
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
      const scored = await filterClass(await planned(name), real.ofClass(name), options);
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

async function filterClass(pictures: readonly Made[], real: Dataset, { filter, judges, threads, signal }: Options): Promise<Scored[]> {
  if (filter === false) return pictures.map((made) => ({ made, agreement: undefined, features: undefined, distance: undefined, dropped: undefined }));
  const call: AskOptions = { ...(threads && { threads }), signal };
  const { classifiers, clip, leastAgreement = 0, mostDistance = Infinity } = judges;
  const finder = new TwinFinder();
  const held = clip && (await real.load(({ key, image }) => ({ key, image: heldImage(image) })));
  if (filter.twins) for await (const { key, image } of held ?? real) finder.find(key, heldImage(image));
  const shots = clip && held && (await featuresOf(clip, held.map(({ image }) => image), call));
  const scored: Scored[] = [];
  for (let first = 0; first < pictures.length; first += AT_ONCE) {
    signal.throwIfAborted();
    const part = pictures.slice(first, first + AT_ONCE);
    const images = await Promise.all(part.map(({ file }) => readImage(file)));
    const sure = classifiers.length === 0 ? undefined : await agreementOf(classifiers, images, part.map(({ className }) => className), call);
    const seen = clip && (await featuresOf(clip, images, call));
    for (const [i, made] of part.entries()) {
      const twin = filter.twins ? finder.find(made.name, images[i] as Image) : undefined;
      const features = seen?.[i];
      const distance = features && shots?.reduce((least, shot) => Math.min(least, apart(shot, features)), Infinity);
      scored.push({ made, agreement: sure?.[i], features, distance, dropped: twin === undefined ? undefined : { kind: 'twin', of: twin } });
    }
  }
  dropWhere(scored, ({ agreement = 1 }) => agreement < leastAgreement, 'unsure');
  dropWhere(scored, ({ distance = 0 }) => distance > mostDistance, 'far');
  dropLast(scored, filter.keep, ({ agreement = 0 }) => -agreement, 'unsure');
  dropLast(scored, filter.near, ({ distance = 0 }) => distance, 'far');
  if (filter.diverse !== undefined) dropSpare(scored, filter.diverse);
  const [one] = scored;
  if (one !== undefined && scored.every(({ dropped }) => dropped !== undefined)) one.dropped = undefined;
  return scored;
}

const isKept = ({ dropped }: Scored): boolean => dropped === undefined;

function dropWhere(scored: readonly Scored[], poor: (one: Scored) => boolean, kind: 'unsure' | 'far'): void {
  for (const one of scored) if (isKept(one) && poor(one)) one.dropped = { kind };
}

/** Those of the highest rank, until the share `keep` of all is left. */
function dropLast(scored: readonly Scored[], keep: number, rank: (one: Scored) => number, kind: 'unsure' | 'far'): void {
  const kept = scored.filter(isKept).sort((a, b) => rank(a) - rank(b));
  for (const one of kept.slice(Math.ceil(keep * scored.length))) one.dropped = { kind };
}

/** All but `most`, chosen one after the other: the nearest to a real picture, then always the one that is farthest from all chosen before. */
function dropSpare(scored: readonly Scored[], most: number): void {
  const left = new Map(scored.filter(isKept).sort((a, b) => (a.distance ?? 0) - (b.distance ?? 0)).map((one) => [one, Infinity]));
  for (let count = 0; count < most && left.size > 0; count++) {
    const [chosen] = [...left].reduce((a, b) => (b[1] > a[1] ? b : a));
    left.delete(chosen);
    for (const [one, least] of left) left.set(one, Math.min(least, apart(one.features as Float32Array, chosen.features as Float32Array)));
  }
  for (const one of left.keys()) one.dropped = { kind: 'spare' };
}

function summaryOf(name: string, scored: readonly Scored[]): GrownClass {
  const count = (kind: Dropped['kind']): number => scored.filter(({ dropped }) => dropped?.kind === kind).length;
  const files = (left: boolean, most: number): string[] => scored.filter(({ dropped }) => (dropped !== undefined) === left).slice(0, most).map(({ made }) => made.file);
  return { name, prompt: scored[0]?.made.prompt ?? '', generated: scored.length, dropped: { twin: count('twin'), unsure: count('unsure'), far: count('far'), spare: count('spare') }, shown: { kept: files(false, SHOWN.kept), dropped: files(true, SHOWN.dropped) } };
}

function reasonOf({ agreement = 0, distance = 0, dropped }: Scored): string | undefined {
  switch (dropped?.kind) {
    case 'twin':
      return `looks like ${dropped.of}`;
    case 'unsure':
      return `the judge sees ${(100 * agreement).toFixed(0)} % of its class in it`;
    case 'far':
      return `far from the real pictures: ${distance.toFixed(3)}`;
    case 'spare':
      return 'others are more different from one another';
    case undefined:
      return undefined;
  }
}

function rowOf(scored: Scored): string {
  const { made, agreement, distance } = scored;
  const why = reasonOf(scored);
  const scores = { ...(agreement !== undefined && { agreement: Number(agreement.toFixed(4)) }), ...(distance !== undefined && { distance: Number(distance.toFixed(4)) }) };
  return `${JSON.stringify({ file_name: made.name, label: made.className, text: made.prompt, seed: made.seed, lora: made.lora, ...(made.from.length > 0 && { from: made.from }), ...scores, ...(why !== undefined && { dropped: why }) })}\n`;
}

/** Keys of the real pictures that each picture that stays was made from, by its own key. */
export async function originsOf(work: Work): Promise<Map<string, readonly string[]>> {
  const rows = await readMetadata(join(work.images, METADATA_FILE), ({ file_name: name, from }) => (typeof name === 'string' ? ([name, Array.isArray(from) ? (from as string[]) : []] as const) : undefined), '"file_name"');
  return new Map(rows);
}
