import { trainClassifier, type Classifier, type TrainClassifierOptions } from '../classifier.js';
import type { Dataset } from '../data/dataset.js';
import type { ClassifierEvaluation } from '../evaluation.js';
import { checkNoOverlap } from '../data/overlap.js';
import { ArgumentError } from '../errors.js';
import { follow, Job } from '../job.js';
import { meanInterval, type Interval } from '../metrics.js';
import type { TrainEvent } from '../native.js';

/** One way to begin. */
export interface Arm {
  name: string;
  /** As in `trainClassifier`; none: random weights. */
  init?: string | Classifier | undefined;
  /** Trained on this instead of the shots. */
  data?: Dataset;
  /** Beside the data: half of each batch. */
  synthetic?: Dataset;
  /** What differs from `train` of all arms. */
  train?: Partial<FewShotOptions['train']>;
  /** Trained exactly as this earlier arm, whose runs it has. */
  like?: string;
  /** In place of `trainClassifier`: another way to learn, which `train` says nothing about; or one that learns nothing. */
  learner?: (call: LearnerCall) => Job<TrainEvent, Judged>;
}

/** What an arm's learner is given in one run. */
export interface LearnerCall {
  train: Dataset;
  synthetic: Dataset | undefined;
  seed: number;
  signal: AbortSignal;
}

/** What can be asked about test pictures. */
export interface Judged {
  evaluate(data: Dataset, options: { signal?: AbortSignal }): Job<never, ClassifierEvaluation>;
  dispose(): void;
  readonly training?: { losses: number[] } | undefined;
}

export interface FewShotOptions {
  /** Labelled pictures that shots are drawn from. */
  pool: Dataset;
  /** Looked at once per run, after its last step; nothing is chosen on it. */
  test: Dataset;
  /** Pictures per class. Default: all. */
  shots?: number | undefined;
  /** Runs of each arm. Run s draws its shots, its head and its augmentation with seed `firstSeed` + s, the same in every arm: runs are paired. */
  seeds: number;
  /** Default 0. */
  firstSeed?: number;
  /** The first is what the others are compared with. */
  arms: readonly Arm[];
  /** How every arm is trained that has no learner. */
  train?: Omit<TrainClassifierOptions, 'train' | 'validate' | 'init' | 'seed' | 'signal'>;
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
  /** Undefined: all pictures of the pool. */
  shots: number | undefined;
  testPictures: number;
  classes: readonly string[];
  arms: ArmResult[];
  comparisons: Comparison[];
}

export type FewShotEvent = { type: 'run'; arm: string; seed: number; accuracy: number; done: number; total: number } | (TrainEvent & { arm: string; seed: number });

/** Two arms of one study, run by run. */
export function paired(arm: ArmResult, baseline: ArmResult): Comparison {
  const differences = arm.runs.map(({ accuracy }, i) => accuracy - (baseline.runs[i]?.accuracy ?? 0));
  return { arm: arm.name, baseline: baseline.name, differences, interval: meanInterval(differences) };
}

/** Few-shot training from several starting points, paired over seeds, measured on held-out pictures. */
export function fewShotStudy(options: FewShotOptions): Job<FewShotEvent, FewShotResult> {
  const { pool, test, shots, seeds, firstSeed = 0, arms, train, signal } = options;
  if (arms.length === 0 || seeds < 1) throw new ArgumentError(`Expected at least one arm and one seed, received ${arms.length} and ${seeds}`);
  return new Job<FewShotEvent, FewShotResult>(
    async (context) => {
      await checkNoOverlap(pool, test, 'pool and test');
      const results: ArmResult[] = arms.map(({ name }) => ({ name, runs: [], accuracy: { mean: 0, low: 0, high: 0 } }));
      for (let seed = firstSeed; seed < firstSeed + seeds; seed++)
        for (const [i, arm] of arms.entries()) {
          const done = (seed - firstSeed) * arms.length + i + 1;
          const finish = (run: FewShotRun): void => {
            results[i]?.runs.push(run);
            context.emit({ type: 'run', arm: arm.name, seed, accuracy: run.accuracy, done, total: seeds * arms.length });
          };
          const before = arm.like === undefined ? undefined : results.find(({ name }) => name === arm.like)?.runs.at(-1);
          if (before !== undefined) {
            finish(before);
            continue;
          }
          const begin = performance.now();
          const own = arm.data ?? (shots === undefined ? pool : pool.subset({ shots, seed }));
          const { init, synthetic, learner } = arm;
          const call = { train: own, seed, signal: context.signal };
          const job: Job<TrainEvent, Judged> = learner?.({ ...call, synthetic }) ?? trainClassifier({ ...train, ...arm.train, ...call, ...(init !== undefined && { init }), ...(synthetic && { synthetic }) });
          const classifier = await follow(job, (event) => context.emit({ ...event, arm: arm.name, seed }));
          try {
            const { accuracy, predictions } = await classifier.evaluate(test, { signal: context.signal });
            finish({ seed, accuracy, predictions, losses: classifier.training?.losses ?? [], seconds: (performance.now() - begin) / 1000 });
          } finally {
            classifier.dispose();
          }
        }
      for (const result of results) result.accuracy = meanInterval(result.runs.map(({ accuracy }) => accuracy));
      const [baseline, ...others] = results;
      return { shots, testPictures: test.length, classes: test.classes, arms: results, comparisons: others.map((other) => paired(other, baseline as ArmResult)) };
    },
    { signal },
  );
}

/** Answers of all runs of an arm: confusion[i][j], test pictures of class i called j. */
export function confusionOf(test: Dataset, arm: ArmResult | undefined): number[][] {
  const confusion = test.classes.map(() => test.classes.map(() => 0));
  const { labels } = test;
  for (const { predictions } of arm?.runs ?? [])
    for (const [i, answer] of predictions.entries()) {
      const line = confusion[labels[i] ?? 0];
      if (line !== undefined) line[answer] = (line[answer] ?? 0) + 1;
    }
  return confusion;
}
