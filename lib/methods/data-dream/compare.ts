import { isDeepStrictEqual } from 'node:util';
import { trainClassifier, type Classifier, type TrainClassifierOptions } from '../../classifier.js';
import { loadClip, trainClipClassifier, type Clip, type ClipClassifier } from '../../clip.js';
import type { Dataset } from '../../data/dataset.js';
import { fewShotStudy, paired, type Arm, type ArmResult, type Comparison, type FewShotEvent, type FewShotResult, type LearnerCall } from '../../experiment/few-shot.js';
import { follow, Job } from '../../job.js';
import type { TrainEvent } from '../../native.js';
import { DEFAULT_BACKBONE } from '../../saved-classifier.js';
import { chooseWays, type Choice, type ChooseEvent, type Learn, type Ways } from './choose.js';
import { PLAIN, type Compare, type DataDreamSettings } from './options.js';

type Settings = Pick<DataDreamSettings, 'template' | 'domain' | 'names' | 'seed' | 'threads'> & { compare: Compare };

/** What generated pictures were worth. */
export interface Gain {
  study: FewShotResult;
  /** Real and generated pictures together against each way to train without generated ones. */
  gains: Comparison[];
  /** Arms with so many generated pictures per class, the least first; 0: those with real ones alone. Empty where no sweep was asked for. */
  curve: { perClass: number; arm: string }[];
  /** Of the views and the weight; undefined where both were given. */
  choice?: Choice | undefined;
}

export type CompareEvent = FewShotEvent | ChooseEvent;

/** Names of the ways to train. */
export const REAL = 'real';
export const BOTH = 'real + generated';
const SAME_VIEWS = 'real, the same views';

const RANDOM = 'random';
const STRONG = { scale: [0.25, 1], flip: 0.5, randAugment: true, randomErasing: true } satisfies TrainClassifierOptions['augment'];

/** What all classifiers share. */
function sharedOptions({ model, steps, batchSize, lr }: Compare, threads: number | undefined) {
  return { ...(model && { model }), ...(threads && { threads }), steps, batchSize, lr: lr ?? 1e-3, minLr: 1e-6, warmupSteps: Math.round(steps / 10), labelSmoothing: 0.1, clipNorm: 1, augment: PLAIN } as const;
}

/** Where classifiers begin; nowhere: random weights. */
export function initOf({ init, model }: Compare): { init?: string } {
  const start = init ?? (model === undefined ? DEFAULT_BACKBONE : RANDOM);
  return start === RANDOM ? {} : { init: start };
}

/** A classifier of the real pictures alone, to ask about generated ones. */
export async function realClassifier(train: Dataset, compare: Compare, { seed, threads, signal }: { seed: number; threads: number | undefined; signal: AbortSignal }): Promise<Classifier> {
  return follow(trainClassifier({ ...sharedOptions(compare, threads), ...initOf(compare), augment: STRONG, train, seed, signal }), () => {});
}

interface Parts {
  train: Dataset;
  synthetic: Dataset;
  test: Dataset;
  /** Keys of the real pictures that each generated one was made from, by its own key. */
  origins: () => Promise<ReadonlyMap<string, readonly string[]>>;
}

/** Classifiers with and without the generated pictures: as many updates each, paired over seeds, measured on pictures that nothing else saw. */
export async function compareArms({ train, synthetic, test, origins }: Parts, settings: Settings, { signal, emit }: { signal: AbortSignal; emit: (event: CompareEvent) => void }): Promise<Gain> {
  const { compare, seed } = settings;
  const clip = compare.clip === undefined ? undefined : await loadClip(compare.clip);
  try {
    const learn = clip === undefined ? visionLearner(settings) : clipLearner(clip, settings);
    const choice = await chooseWays({ train, synthetic }, compare, { learn, origins, seed, signal, emit });
    const most = Math.max(...synthetic.counts);
    const amounts = choice.ways.realWeight === 1 ? [] : [...new Set(compare.sweep)].filter((perClass) => perClass < most).sort((a, b) => a - b);
    const mixtures = [...amounts.map((perClass) => ({ name: `real + ${perClass} generated`, synthetic: synthetic.firstOfEach(perClass) })), { name: BOTH, synthetic }];
    const rivals = compare.rivals ? [...(clip === undefined ? [] : [zeroShot(clip, settings)]), ...rivalsOf(learn, synthetic, choice.ways)] : [];
    const arms = [...rivals, ...mixturesOf(learn, mixtures, choice.ways, compare.rivals)];
    const study = await follow(fewShotStudy({ pool: train, test, seeds: compare.seeds, firstSeed: seed, arms, signal }), emit);
    const last = study.arms.at(-1) as ArmResult;
    const curve = amounts.length === 0 ? [] : [...(compare.rivals ? [{ perClass: 0, arm: REAL }] : []), ...mixtures.map(({ name }, i) => ({ perClass: amounts[i] ?? most, arm: name }))];
    return { study, gains: study.arms.filter(({ name }) => !name.includes('generated')).map((rival) => paired(last, rival)), curve, ...(choice.asked.length > 0 && { choice }) };
  } finally {
    clip?.dispose();
  }
}

/** Generated pictures, some or all, as they are mixed with the real ones. */
const mixed = ({ train, synthetic, seed, signal }: LearnerCall, { augment, realWeight }: Ways) => ({ train, seed, signal, augment, ...(synthetic && realWeight < 1 && { synthetic, realWeight }) });

/** Of the updates. */
const partOf = (compare: Compare, share: number): Compare => ({ ...compare, steps: Math.max(1, Math.round(share * compare.steps)) });

const visionLearner =
  ({ compare, threads }: Settings): Learn =>
  (call, ways, share = 1) =>
    trainClassifier({ ...sharedOptions(partOf(compare, share), threads), ...initOf(compare), ...mixed(call, ways) });

/** The paper's classifier: sentences about classes, LoRA in both towers. */
const clipLearner =
  (clip: Clip, { compare, template, domain, names, threads }: Settings): Learn =>
  (call, ways, share = 1) => {
    const { steps, batchSize, lr } = partOf(compare, share);
    return trainClipClassifier({ clip, template, domain, names, steps, batchSize, ...(lr !== undefined && { lr }), ...(threads && { threads }), ...mixed(call, ways) });
  };

/** That classifier as it is. */
function zeroShot(clip: Clip, { template, domain, names }: Settings): Arm {
  const asItIs = ({ train, signal }: LearnerCall) => new Job<TrainEvent, ClipClassifier>(() => Promise.resolve(clip.classifier({ classes: [...train.classes], template, domain, names })), { signal });
  return { name: 'no picture (zero-shot)', learner: asItIs };
}

const isPlain = (ways: Ways): boolean => isDeepStrictEqual(ways.augment, PLAIN);

/** What they are compared with. Where generated pictures are seen in another way than real ones are, what that alone does is told apart. */
function rivalsOf(learn: Learn, synthetic: Dataset, ways: Ways): Arm[] {
  const learner = (own: Partial<Ways>) => (call: LearnerCall) => learn(call, { ...ways, ...own });
  return [
    { name: REAL, learner: learner({ augment: PLAIN }) },
    { name: 'real, strong augmentation', learner: learner({ augment: STRONG }) },
    ...(isPlain(ways) ? [] : [{ name: SAME_VIEWS, learner: learner({}) }]),
    { name: 'generated', data: synthetic, learner: learner({}) },
  ];
}

/** Real and generated pictures together; where none of these count, that is one of the `rivals`, if they are there. */
function mixturesOf(learn: Learn, mixtures: readonly Pick<Arm, 'name' | 'synthetic'>[], ways: Ways, rivals: boolean): Arm[] {
  const way = ways.realWeight === 1 && rivals ? { like: isPlain(ways) ? REAL : SAME_VIEWS } : { learner: (call: LearnerCall) => learn(call, ways) };
  return mixtures.map((mixture) => ({ ...mixture, ...way }));
}
