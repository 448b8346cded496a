import type { Dataset } from '../../data/dataset.js';
import type { Judged, LearnerCall } from '../../experiment/few-shot.js';
import { follow, type Job } from '../../job.js';
import { mean, standardDeviation } from '../../metrics.js';
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

/** The first holds where the other does not answer better. */
const VIEWS = { plain: PLAIN, varied: VARIED };
const WEIGHTS = [0.8, 0.5];
/** Where nothing can be held out: what did best with one picture of a class (docs/evidence.md). */
const UNTRIED = { augment: VARIED, realWeight: 0.5 };

/** What was tried, and the share of the held pictures that it answered right. */
export interface Trial {
  what: keyof Ways;
  value: string;
  accuracy: number;
}

/** What was chosen on the real pictures that are learnt from. */
export interface Choice {
  ways: Ways;
  /** What was not given. */
  asked: (keyof Ways)[];
  /** None where nothing could be held out. */
  trials: Trial[];
}

export type ChooseEvent = { type: 'choose'; held: number } & Trial;

/** A classifier's training, or a share of it. */
export type Learn = (call: LearnerCall, ways: Ways, share?: number) => Job<TrainEvent, Judged>;

interface ChooseOptions {
  learn: Learn;
  /** Keys of the real pictures that each generated one was made from, by its own key. */
  origins: () => Promise<ReadonlyMap<string, readonly string[]>>;
  seed: number;
  signal: AbortSignal;
  emit: (event: ChooseEvent) => void;
}

/** A fold with the generated pictures that were made from none of the held ones. */
type Divided = Fold & { synthetic: Dataset };

/**
 * Settles what is to be chosen, by cross-validation on halves of the real pictures, as many passes over one as there would be over both. The views first, by classifiers of real pictures alone. Then the weight: generated
 * pictures are used where they answer better than none by more than the standard error of the paired difference, since half of the pictures leave more to be gained, and adapters of a class have seen those that are held.
 */
export async function chooseWays({ train, synthetic }: { train: Dataset; synthetic: Dataset }, wanted: Pick<Compare, keyof Ways>, options: ChooseOptions): Promise<Choice> {
  const asked = askedOf(wanted);
  if (asked.length === 0) return { ways: wanted as Ways, asked, trials: [] };
  const origins = await options.origins();
  const folds = foldsOf(train, HALVES).map((fold) => without(fold, synthetic, origins));
  const trials: Trial[] = [];
  const known = new Map<string, number[]>();
  const attempt = async (what: Trial['what'], value: string, ways: Ways): Promise<number[]> => {
    const right = known.get(JSON.stringify(ways)) ?? (await answersOf(folds, ways, options));
    known.set(JSON.stringify(ways), right);
    const trial = { what, value, accuracy: mean(right) };
    trials.push(trial);
    options.emit({ type: 'choose', held: train.length, ...trial });
    return right;
  };
  const augment = wanted.augment !== CHOOSE ? wanted.augment : folds.length < HALVES ? UNTRIED.augment : await viewsOf(attempt);
  const mixed = folds.length === HALVES && folds.every((fold) => fold.synthetic.counts.every((count) => count > 0));
  const realWeight = wanted.realWeight !== CHOOSE ? wanted.realWeight : mixed ? await weightOf(augment, attempt) : UNTRIED.realWeight;
  return { ways: { augment, realWeight }, asked, trials };
}

const askedOf = ({ augment, realWeight }: Pick<Compare, keyof Ways>): Choice['asked'] => [...(augment === CHOOSE ? (['augment'] as const) : []), ...(realWeight === CHOOSE ? (['realWeight'] as const) : [])];

type Attempt = (what: Trial['what'], value: string, ways: Ways) => Promise<number[]>;

async function viewsOf(attempt: Attempt): Promise<Ways['augment']> {
  const [plain, varied] = [await attempt('augment', 'plain', { augment: VIEWS.plain, realWeight: 1 }), await attempt('augment', 'varied', { augment: VIEWS.varied, realWeight: 1 })];
  return mean(varied) > mean(plain) ? VIEWS.varied : VIEWS.plain;
}

async function weightOf(augment: Ways['augment'], attempt: Attempt): Promise<number> {
  const alone = await attempt('realWeight', '1', { augment, realWeight: 1 });
  let [chosen, most] = [1, 0];
  for (const realWeight of WEIGHTS) {
    const gains = (await attempt('realWeight', String(realWeight), { augment, realWeight })).map((right, i) => right - (alone[i] as number));
    if (mean(gains) > Math.max(most, standardDeviation(gains) / Math.sqrt(gains.length))) [chosen, most] = [realWeight, mean(gains)];
  }
  return chosen;
}

function without(fold: Fold, synthetic: Dataset, origins: ReadonlyMap<string, readonly string[]>): Divided {
  const held = new Set(fold.held.keys);
  return { ...fold, synthetic: synthetic.filter((key) => !(origins.get(key) ?? []).some((real) => held.has(real))) };
}

/** For each held picture of all folds 1 where it is named right, else 0. */
async function answersOf(folds: readonly Divided[], ways: Ways, { learn, seed, signal }: ChooseOptions): Promise<number[]> {
  const right: number[] = [];
  for (const { learnt, held, synthetic } of folds) {
    const classifier = await follow(learn({ train: learnt, synthetic, seed, signal }, ways, learnt.length / (learnt.length + held.length)), () => {});
    try {
      const { predictions } = await classifier.evaluate(held, { signal });
      right.push(...held.labels.map((label, i) => Number(predictions[i] === label)));
    } finally {
      classifier.dispose();
    }
  }
  return right;
}
