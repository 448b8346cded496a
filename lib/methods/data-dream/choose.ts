import type { Dataset } from '../../data/dataset.js';
import type { Judged, LearnerCall } from '../../experiment/few-shot.js';
import { follow, type Job } from '../../job.js';
import type { TrainEvent } from '../../native.js';
import { foldsOf, type Fold } from './folds.js';
import { CHOOSE, PLAIN, VARIED, type Compare } from './options.js';

const HALVES = 2;

/** How classifiers learn that may have generated pictures beside the real ones. */
export interface Ways {
  augment: Exclude<Compare['augment'], typeof CHOOSE>;
  /** With 1 the generated pictures are left out. */
  realWeight: number;
}

/** The first of each holds where nothing can be held out, or where no other answers better. */
const VIEWS = { varied: VARIED, plain: PLAIN };
const WEIGHTS = [0.5, 0.8, 1];

/** What was tried, and how much of the held pictures it answered. */
export interface Trial {
  what: 'augment' | 'realWeight';
  value: string;
  accuracy: number;
}

/** What was chosen on the real pictures that are learnt from. */
export interface Choice {
  ways: Ways;
  /** None where nothing was to be chosen, or nothing could be held out. */
  trials: Trial[];
}

export type ChooseEvent = { type: 'choose'; held: number } & Trial;

/** A classifier's training, or a share of it. */
export type Learn = (call: LearnerCall, ways: Ways, share?: number) => Job<TrainEvent, Judged>;

interface ChooseOptions {
  learn: Learn;
  /** Keys of the real pictures that each generated one was made from, by its own key. */
  origins: ReadonlyMap<string, readonly string[]>;
  seed: number;
  signal: AbortSignal;
  emit: (event: ChooseEvent) => void;
}

/** A fold with the generated pictures that were made from none of the held ones, if any is left. */
type Divided = Fold & { synthetic: Dataset | undefined };

/** Settles what is to be chosen, by cross-validation on halves of the real pictures, as many passes over one as there would be over both: the views first, by classifiers of real pictures alone, then the weight. */
export async function chooseWays({ train, synthetic }: { train: Dataset; synthetic: Dataset }, { augment, realWeight }: Pick<Compare, keyof Ways>, options: ChooseOptions): Promise<Choice> {
  const folds = foldsOf(train, HALVES);
  const divided = folds.length < 2 ? [] : folds.map((fold) => without(fold, synthetic, options.origins));
  const trials: Trial[] = [];
  const known = new Map<string, number>(); // a way of real pictures alone is asked about twice
  const best = async <T>(what: Trial['what'], candidates: readonly (readonly [string, T])[], waysOf: (candidate: T) => Ways): Promise<T> => {
    const [[, first]] = candidates as [readonly [string, T]];
    let [chosen, most] = [first, -1];
    for (const [value, candidate] of divided.length === 0 ? [] : candidates) {
      const ways = waysOf(candidate);
      const accuracy = known.get(JSON.stringify(ways)) ?? (await answered(divided, ways, options));
      known.set(JSON.stringify(ways), accuracy);
      trials.push({ what, value, accuracy });
      options.emit({ type: 'choose', what, value, accuracy, held: train.length });
      if (accuracy > most) [chosen, most] = [candidate, accuracy];
    }
    return chosen;
  };
  const views = augment === CHOOSE ? await best('augment', Object.entries(VIEWS), (candidate) => ({ augment: candidate, realWeight: 1 })) : augment;
  const weight = realWeight === CHOOSE ? await best('realWeight', WEIGHTS.map((one) => [String(one), one] as const), (candidate) => ({ augment: views, realWeight: candidate })) : realWeight;
  return { ways: { augment: views, realWeight: weight }, trials };
}

function without(fold: Fold, synthetic: Dataset, origins: ReadonlyMap<string, readonly string[]>): Divided {
  const held = new Set(fold.held.keys);
  const left = synthetic.filter((key) => !(origins.get(key) ?? []).some((real) => held.has(real)));
  return { ...fold, synthetic: left.length > 0 ? left : undefined };
}

/** Share of the held pictures, of all folds together. */
async function answered(folds: readonly Divided[], ways: Ways, { learn, seed, signal }: ChooseOptions): Promise<number> {
  let [right, all] = [0, 0];
  for (const { learnt, held, synthetic } of folds) {
    const classifier = await follow(learn({ train: learnt, synthetic, seed, signal }, ways, learnt.length / (learnt.length + held.length)), () => {});
    try {
      const { accuracy } = await classifier.evaluate(held, { signal });
      [right, all] = [right + accuracy * held.length, all + held.length];
    } finally {
      classifier.dispose();
    }
  }
  return right / all;
}
