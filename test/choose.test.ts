import t from 'tap';
import { Dataset, type Image } from 'seedbed';
import { Job } from '#lib/job.js';
import { chooseWays, type Choice, type Ways } from '#lib/methods/data-dream/choose.js';
import { PLAIN, VARIED } from '#lib/methods/data-dream/options.js';
import type { ClassifierEvaluation } from '#lib/evaluation.js';
import type { Judged, LearnerCall } from '#lib/experiment/few-shot.js';
import type { TrainEvent } from '#lib/native.js';

const CLASSES = ['cat', 'dog'];
const PIXEL: Image = { data: new Uint8Array(3), width: 1, height: 1, channels: 3 };
const dataset = (name: string, perClass: number): Dataset =>
  new Dataset({ name, classes: CLASSES, entries: CLASSES.flatMap((own, label) => Array.from({ length: perClass }, (_, i) => ({ key: `${name}/${own}/${i}`, label, read: () => Promise.resolve(PIXEL) }))) });

interface Call {
  learnt: string[];
  synthetic: string[];
  held: string[];
  share: number | undefined;
  ways: Ways;
}

/** Chooses with classifiers that name picture `i` of the `count` in a half right where `isRight` says so, and notes what they were given. */
async function choose(perClass: number, wanted: Parameters<typeof chooseWays>[1], isRight: (ways: Ways, i: number, count: number) => boolean, origins = new Map<string, readonly string[]>()) {
  const calls: Call[] = [];
  let disposed = 0;
  const learn = ({ train, synthetic }: LearnerCall, ways: Ways, share?: number) =>
    new Job<TrainEvent, Judged>(() =>
      Promise.resolve({
        evaluate: (held: Dataset) => {
          calls.push({ learnt: [...train.keys], synthetic: [...(synthetic?.keys ?? [])], held: [...held.keys], share, ways });
          return new Job(() => Promise.resolve({ predictions: held.labels.map((label, i) => (isRight(ways, i, held.length) ? label : 1 - label)) } as ClassifierEvaluation));
        },
        dispose: () => disposed++,
      }),
    );
  const choice = await chooseWays({ train: dataset('real', perClass), synthetic: dataset('made', 2) }, wanted, { learn, origins: () => Promise.resolve(origins), seed: 0, signal: new AbortController().signal, emit: () => {} });
  return { choice, calls, disposed };
}

/** The first of each half, that share. */
const firstOf =
  (share: (ways: Ways) => number) =>
  (ways: Ways, i: number, count: number): boolean =>
    i < share(ways) * count;

const BOTH = { augment: 'choose', realWeight: 'choose' } as const;
const triedIn = ({ trials }: Choice): string[] => trials.map(({ what, value, accuracy }) => `${what} ${value}: ${accuracy}`);

t.test('each real picture is held out once, and what was made from it too', async (t) => {
  const origins = new Map([['made/cat/0', ['real/cat/1']], ['made/dog/1', ['real/dog/0', 'real/dog/2']]]);
  const { calls, disposed } = await choose(4, BOTH, () => true, origins);
  t.equal(disposed, calls.length);
  const real = [...dataset('real', 4).keys].sort();
  for (let first = 0; first < calls.length; first += 2) {
    const folds = calls.slice(first, first + 2);
    t.same(folds.flatMap(({ held }) => held).sort(), real);
    for (const { learnt, held, synthetic, share } of folds) {
      t.equal(share, 0.5, 'as many passes');
      t.same([...learnt, ...held].sort(), real);
      t.ok(CLASSES.every((name) => learnt.some((key) => key.includes(name))), 'every class is learnt');
      for (const [made, from] of origins) t.equal(synthetic.includes(made), !from.some((key) => held.includes(key)), made);
    }
  }
});

t.test('views by real pictures alone, then the weight; generated pictures must be better than none by more than the error', async (t) => {
  const helped = await choose(8, BOTH, firstOf(({ augment, realWeight }) => (augment === PLAIN ? 0.25 : 0.5) + (realWeight === 1 ? 0 : realWeight === 0.8 ? 0.5 : 0.25)));
  t.same(triedIn(helped.choice), ['augment plain: 0.25', 'augment varied: 0.5', 'realWeight 1: 0.5', 'realWeight 0.8: 1', 'realWeight 0.5: 0.75']);
  t.same(helped.choice.ways, { augment: VARIED, realWeight: 0.8 });
  t.same(helped.calls.map(({ ways }) => ways.realWeight), [1, 1, 1, 1, 0.8, 0.8, 0.5, 0.5], 'what is known is not asked again');
  const even = await choose(8, BOTH, firstOf(() => 0.5));
  t.same(even.choice.ways, { augment: PLAIN, realWeight: 1 }, 'neither is better: plain, and none generated');
  // Of 32 pictures a weight of 0.5 gets 4 right that are wrong without generated ones, and as many more wrong as `lost`.
  const traded = async (lost: number) => {
    const right = ({ realWeight }: Ways, i: number): boolean => (realWeight === 0.5 ? i >= lost / 2 && i < 10 : i < 8);
    return (await choose(16, { augment: PLAIN, realWeight: 'choose' }, right)).choice.ways.realWeight;
  };
  t.equal(await traded(0), 0.5, '4 better: 0.125 of an error of 0.059');
  t.equal(await traded(2), 1, '4 better, 2 worse: 0.062 of an error of 0.077');
});

t.test('nothing to hold out, nothing generated that can be shown, nothing to choose', async (t) => {
  const single = await choose(1, BOTH, () => true);
  t.same([single.calls, single.choice], [[], { ways: { augment: VARIED, realWeight: 0.5 }, asked: ['augment', 'realWeight'], trials: [] }]);
  const all = [...dataset('real', 2).keys];
  const blind = await choose(2, BOTH, firstOf(() => 0.5), new Map(dataset('made', 2).keys.map((key) => [key, all])));
  t.same([triedIn(blind.choice), blind.choice.ways.realWeight], [['augment plain: 0.5', 'augment varied: 0.5'], 0.5], 'every generated picture was made from both halves');
  const given = await choose(3, { augment: PLAIN, realWeight: 0.7 }, () => true);
  t.same([given.calls, given.choice], [[], { ways: { augment: PLAIN, realWeight: 0.7 }, asked: [], trials: [] }]);
});
