import type { Classifier } from '../../classifier.js';
import { loadClip, type Clip, type ClipClassifier } from '../../clip.js';
import type { Dataset } from '../../data/dataset.js';
import { heldImage, heldImages } from '../../image-sets.js';
import { quantile } from '../../metrics.js';
import type { Image } from '../../image.js';
import { realClassifier } from './compare.js';
import { foldsOf } from './folds.js';
import { clipOf, judgeOf, type DataDreamSettings } from './options.js';
import { apart, featuresOf } from './views.js';

const MOST_FOLDS = 4;

export interface AskOptions {
  threads?: number;
  signal: AbortSignal;
}

/** Who is asked about generated pictures, and from where on an answer is too poor. */
export interface Judges extends Disposable {
  /** Each gives a picture's chances of all classes; together their mean counts. Empty where nobody is asked. */
  readonly classifiers: readonly (Classifier | ClipClassifier)[];
  /** The least chance of its class that a picture must get; undefined: any. */
  readonly leastAgreement: number | undefined;
  /** Sees how alike pictures are; may be missing. */
  readonly clip: Clip | undefined;
  /** The farthest from the nearest real picture of its class that one may be, 1 - cosine; undefined: any. */
  readonly mostDistance: number | undefined;
}

/** What the filter of these settings asks, learnt from the real pictures where it must be. */
export async function openJudges(train: Dataset, settings: DataDreamSettings, options: AskOptions): Promise<Judges> {
  const { filter, compare, template, domain, names } = settings;
  if (filter === false) return judgesOf({});
  const [judge, asked] = [judgeOf(filter), clipOf(filter)];
  const clip = asked === undefined ? undefined : await loadClip(asked);
  const classifiers: (Classifier | ClipClassifier)[] = [];
  try {
    const mostDistance = clip !== undefined && filter.distancePercentile < 1 ? quantile(await ownDistances(clip, train, options), filter.distancePercentile) : undefined;
    if (judge === 'clip' && clip !== undefined) classifiers.push(clip.classifier({ classes: [...train.classes], template, domain, names }));
    const crossed = judge === 'classifier' && filter.agreementPercentile > 0;
    const agreements: number[] = [];
    if (judge === 'classifier' && compare !== false)
      for (const { learnt, held } of crossed ? foldsOf(train, MOST_FOLDS) : [{ learnt: train, held: undefined }]) {
        const classifier = await realClassifier(learnt, compare, { seed: settings.seed, threads: options.threads, signal: options.signal });
        classifiers.push(classifier);
        if (held !== undefined) agreements.push(...(await agreementsWith([classifier], held, options)));
      }
    if (judge === 'clip' && filter.agreementPercentile > 0) agreements.push(...(await agreementsWith(classifiers, train, options)));
    return judgesOf({ classifiers, clip, mostDistance, leastAgreement: agreements.length > 0 ? quantile(agreements, filter.agreementPercentile) : undefined });
  } catch (error) {
    judgesOf({ classifiers, clip })[Symbol.dispose]();
    throw error;
  }
}

function judgesOf({ classifiers = [], clip, leastAgreement, mostDistance }: Partial<Judges>): Judges {
  const dispose = (): void => {
    for (const one of classifiers) one.dispose();
    clip?.dispose();
  };
  return { classifiers, clip, leastAgreement, mostDistance, [Symbol.dispose]: dispose };
}

/** Chances of these classes, one for each picture, by all judges together. */
export async function agreementOf(classifiers: Judges['classifiers'], images: readonly Image[], classNames: readonly string[], options: AskOptions): Promise<number[]> {
  const sums = images.map(() => 0);
  for (const classifier of classifiers)
    for (const [i, { probabilities }] of (await classifier.predict(images, options)).entries()) sums[i] = (sums[i] ?? 0) + (probabilities[classifier.classes.indexOf(classNames[i] as string)] ?? 0) / classifiers.length;
  return sums;
}

async function agreementsWith(classifiers: Judges['classifiers'], pictures: Dataset, options: AskOptions): Promise<number[]> {
  const samples = await pictures.load(({ image, className }) => ({ image: heldImage(image), className }));
  return agreementOf(classifiers, samples.map(({ image }) => image), samples.map(({ className }) => className), options);
}

/** Of each real picture to the nearest other of its class. */
async function ownDistances(clip: Clip, train: Dataset, options: AskOptions): Promise<number[]> {
  const distances: number[] = [];
  for (const className of train.classes) {
    const features = await featuresOf(clip, await heldImages(train.ofClass(className)), options);
    if (features.length > 1) distances.push(...features.map((own, i) => Math.min(...features.flatMap((other, j) => (i === j ? [] : [apart(own, other)])))));
  }
  return distances;
}
