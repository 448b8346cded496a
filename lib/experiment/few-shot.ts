import { trainClassifier, type Classifier, type TrainClassifierOptions } from '../classifier.js';
import type { Dataset } from '../data/dataset.js';
import { ArgumentError, SeedbedError } from '../errors.js';
import { follow, Job } from '../job.js';
import { meanInterval, type Interval } from '../metrics.js';
import type { TrainEvent } from '../native.js';

/** One way to begin. */
export interface Arm {
  name: string;
  /** As in `trainClassifier`; none: random weights. */
  init?: string | Classifier | undefined;
}

export interface FewShotOptions {
  /** Labelled pictures that shots are drawn from. */
  pool: Dataset;
  /** Looked at once per run, after its last step; nothing is chosen on it. */
  test: Dataset;
  /** Pictures per class. */
  shots: number;
  /** Runs of each arm. Run s draws its shots, its head and its augmentation with seed s, the same in every arm: runs are paired. */
  seeds: number;
  /** The first is what the others are compared with. */
  arms: readonly Arm[];
  /** How every arm is trained. */
  train: Omit<TrainClassifierOptions, 'train' | 'validate' | 'init' | 'seed' | 'signal'>;
  signal?: AbortSignal | undefined;
}

export interface FewShotRun {
  seed: number;
  /** Share of right answers on the test pictures. */
  accuracy: number;
  /** Training loss of every step. */
  losses: number[];
  predictions: number[];
  seconds: number;
}

export interface ArmResult {
  name: string;
  runs: FewShotRun[];
  /** Over seeds: Student's 95 % interval of the mean. */
  accuracy: Interval & { mean: number };
}

/** Paired over seeds: arm minus baseline. */
export interface Comparison {
  arm: string;
  baseline: string;
  differences: number[];
  interval: Interval & { mean: number };
}

export interface FewShotResult {
  shots: number;
  testPictures: number;
  classes: readonly string[];
  arms: ArmResult[];
  comparisons: Comparison[];
}

export type FewShotEvent = { type: 'run'; arm: string; seed: number; accuracy: number; done: number; total: number } | (TrainEvent & { arm: string; seed: number });

/** Few-shot training from several starting points, paired over seeds, measured on held-out pictures. */
export function fewShotStudy(options: FewShotOptions): Job<FewShotEvent, FewShotResult> {
  const { pool, test, shots, seeds, arms, train, signal } = options;
  if (arms.length === 0 || seeds < 1) throw new ArgumentError(`Expected at least one arm and one seed, received ${arms.length} and ${seeds}`);
  const shared = test.keys.find((key) => new Set(pool.keys).has(key));
  if (shared !== undefined) throw new SeedbedError('ERR_DATA_LEAK', `Expected no picture in both pool and test, found '${shared}'`);
  return new Job<FewShotEvent, FewShotResult>(
    async (context) => {
      const results: ArmResult[] = arms.map(({ name }) => ({ name, runs: [], accuracy: { mean: 0, low: 0, high: 0 } }));
      for (let seed = 0; seed < seeds; seed++)
        for (const [i, arm] of arms.entries()) {
          const begin = performance.now();
          const job = trainClassifier({ ...train, train: pool.subset({ shots, seed }), seed, ...(arm.init !== undefined && { init: arm.init }), signal: context.signal });
          const classifier = await follow(job, (event) => context.emit({ ...event, arm: arm.name, seed }));
          try {
            const { accuracy, predictions } = await classifier.evaluate(test, { signal: context.signal });
            const run = { seed, accuracy, predictions, losses: classifier.training?.losses ?? [], seconds: (performance.now() - begin) / 1000 };
            results[i]?.runs.push(run);
            context.emit({ type: 'run', arm: arm.name, seed, accuracy, done: seed * arms.length + i + 1, total: seeds * arms.length });
          } finally {
            classifier.dispose();
          }
        }
      const accuracies = (result: ArmResult | undefined): number[] => (result?.runs ?? []).map((run) => run.accuracy);
      for (const result of results) result.accuracy = meanInterval(accuracies(result));
      const [baseline, ...others] = results;
      const comparisons = others.map((other) => {
        const differences = accuracies(other).map((accuracy, seed) => accuracy - (accuracies(baseline)[seed] ?? 0));
        return { arm: other.name, baseline: baseline?.name ?? '', differences, interval: meanInterval(differences) };
      });
      return { shots, testPictures: test.length, classes: test.classes, arms: results, comparisons };
    },
    { signal },
  );
}
