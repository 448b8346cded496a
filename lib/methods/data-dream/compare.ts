import { isDeepStrictEqual } from 'node:util';
import { trainClassifier, type Classifier, type TrainClassifierOptions } from '../../classifier.js';
import { loadClip, trainClipClassifier, type Clip, type ClipClassifier } from '../../clip.js';
import type { Dataset } from '../../data/dataset.js';
import { fewShotStudy, paired, type Arm, type ArmResult, type Comparison, type FewShotEvent, type FewShotResult, type LearnerCall } from '../../experiment/few-shot.js';
import { follow, Job } from '../../job.js';
import type { TrainEvent } from '../../native.js';
import { PLAIN, type DataDreamSettings } from './options.js';

type Compare = Exclude<DataDreamSettings['compare'], false>;
type Settings = Pick<DataDreamSettings, 'template' | 'domain' | 'names' | 'seed' | 'threads'> & { compare: Compare };

/** What generated pictures were worth. */
export interface Gain {
  study: FewShotResult;
  /** Real and generated pictures together against each way to train without generated ones. */
  gains: Comparison[];
  /** Arms with so many generated pictures per class, the least first; 0: those with real ones alone. Empty where no sweep was asked for. */
  curve: { perClass: number; arm: string }[];
}

/** Names of the ways to train. */
export const REAL = 'real';
export const BOTH = 'real + generated';
const SAME_VIEWS = 'real, the same views';

const BACKBONE = 'fractal-vit-nano';
const RANDOM = 'random';
const STRONG = { scale: [0.25, 1], flip: 0.5, randAugment: true, randomErasing: true } satisfies TrainClassifierOptions['augment'];

/** Whether generated pictures are seen in another way than real ones are: what that alone does must be told apart. */
const ownViews = ({ augment }: Compare): boolean => !isDeepStrictEqual(augment, PLAIN);

/** What all classifiers share. */
function sharedOptions({ model, steps, batchSize, lr }: Compare, threads: number | undefined) {
  return { ...(model && { model }), ...(threads && { threads }), steps, batchSize, lr: lr ?? 1e-3, minLr: 1e-6, warmupSteps: Math.round(steps / 10), labelSmoothing: 0.1, clipNorm: 1, augment: PLAIN } as const;
}

/** Where classifiers begin; nowhere: random weights. */
export function initOf({ init, model }: Compare): { init?: string } {
  const start = init ?? (model === undefined ? BACKBONE : RANDOM);
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
}

/** Classifiers with and without the generated pictures: as many updates each, paired over seeds, measured on pictures that nothing else saw. */
export async function compareArms({ train, synthetic, test }: Parts, settings: Settings, { signal, emit }: { signal: AbortSignal; emit: (event: FewShotEvent) => void }): Promise<Gain> {
  const { compare } = settings;
  const clip = compare.clip === undefined ? undefined : await loadClip(compare.clip);
  try {
    const most = Math.max(...synthetic.counts);
    const amounts = [...new Set(compare.sweep)].filter((perClass) => perClass < most).sort((a, b) => a - b);
    const parts = [...amounts.map((perClass) => ({ name: `real + ${perClass} generated`, synthetic: synthetic.firstOfEach(perClass) })), { name: BOTH, synthetic }];
    const arms = clip === undefined ? visionArms(synthetic, parts, compare) : clipArms(clip, synthetic, parts, settings);
    const study = await follow(fewShotStudy({ pool: train, test, seeds: compare.seeds, firstSeed: settings.seed, arms, train: sharedOptions(compare, settings.threads), signal }), emit);
    const last = study.arms.at(-1) as ArmResult;
    const curve = amounts.length === 0 ? [] : [{ perClass: 0, arm: REAL }, ...parts.map(({ name }, i) => ({ perClass: amounts[i] ?? most, arm: name }))];
    return { study, gains: study.arms.filter(({ name }) => !name.includes('generated')).map((rival) => paired(last, rival)), curve };
  } finally {
    clip?.dispose();
  }
}

/** Real pictures and some generated ones. */
interface Mixture {
  name: string;
  synthetic: Dataset;
}

function visionArms(synthetic: Dataset, mixtures: readonly Mixture[], compare: Compare): Arm[] {
  const from = initOf(compare);
  return [
    { name: REAL, ...from },
    { name: 'real, strong augmentation', ...from, train: { augment: STRONG } },
    ...(ownViews(compare) ? [{ name: SAME_VIEWS, ...from, train: { augment: compare.augment } }] : []),
    { name: 'generated', ...from, data: synthetic, train: { augment: compare.augment } },
    ...mixtures.map((mixture) => ({ ...mixture, ...from, train: { realWeight: compare.realWeight, augment: compare.augment } })),
  ];
}

/** The paper's classifier: sentences about classes, LoRA in both towers. */
function clipArms(clip: Clip, synthetic: Dataset, mixtures: readonly Mixture[], { compare, template, domain, names, threads }: Settings): Arm[] {
  const { steps, batchSize, lr, realWeight, augment: own } = compare;
  const sentences = { template, domain, names };
  const learn =
    (augment: Compare['augment']) =>
    ({ train, synthetic: generated, seed, signal }: LearnerCall) =>
      trainClipClassifier({ clip, train, ...sentences, ...(generated && { synthetic: generated, realWeight }), steps, batchSize, ...(lr !== undefined && { lr }), augment, seed, ...(threads && { threads }), signal });
  const asItIs = ({ train, signal }: LearnerCall) => new Job<TrainEvent, ClipClassifier>(() => Promise.resolve(clip.classifier({ classes: [...train.classes], ...sentences })), { signal });
  return [
    { name: 'no picture (zero-shot)', learner: asItIs },
    { name: REAL, learner: learn(PLAIN) },
    { name: 'real, strong augmentation', learner: learn(STRONG) },
    ...(ownViews(compare) ? [{ name: SAME_VIEWS, learner: learn(own) }] : []),
    { name: 'generated', data: synthetic, learner: learn(own) },
    ...mixtures.map((mixture) => ({ ...mixture, learner: learn(own) })),
  ];
}
