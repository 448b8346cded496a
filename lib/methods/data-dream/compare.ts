import type { Classifier } from '../../classifier.js';
import type { Dataset } from '../../data/dataset.js';
import { fewShotStudy, paired, type Arm, type ArmResult, type Comparison, type FewShotEvent, type FewShotResult } from '../../experiment/few-shot.js';
import { follow } from '../../job.js';
import { trainClassifier } from '../../classifier.js';
import type { DataDreamSettings } from './options.js';

type Compare = Exclude<DataDreamSettings['compare'], false>;

/** What generated pictures were worth. */
export interface Gain {
  study: FewShotResult;
  /** Real and generated pictures together against each way to train without generated ones. */
  gains: Comparison[];
}

const PLAIN = { scale: [0.5, 1], flip: 0.5 } as const;
const STRONG = { scale: [0.25, 1], flip: 0.5, randAugment: true, randomErasing: true } as const;

/** What all classifiers share. */
function sharedOptions({ model, steps, batchSize, lr }: Compare, threads: number | undefined) {
  return { ...(model && { model }), ...(threads && { threads }), steps, batchSize, lr, minLr: 1e-6, warmupSteps: Math.round(steps / 10), labelSmoothing: 0.1, clipNorm: 1, augment: PLAIN } as const;
}

const initOf = ({ init }: Compare): { init?: string } => (init === 'random' ? {} : { init });

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
export async function compareArms({ train, synthetic, test }: Parts, compare: Compare, threads: number | undefined, { signal, emit }: { signal: AbortSignal; emit: (event: FewShotEvent) => void }): Promise<Gain> {
  const from = initOf(compare);
  const both = { name: 'real + generated', ...from, synthetic, train: { realWeight: compare.realWeight } };
  const arms: Arm[] = [
    { name: 'real', ...from },
    { name: 'real, strong augmentation', ...from, train: { augment: STRONG } },
    { name: 'generated', ...from, data: synthetic },
    both,
  ];
  const study = await follow(fewShotStudy({ pool: train, test, seeds: compare.seeds, arms, train: sharedOptions(compare, threads), signal }), emit);
  const last = study.arms.at(-1) as ArmResult;
  return { study, gains: study.arms.slice(0, 2).map((rival) => paired(last, rival)) };
}
