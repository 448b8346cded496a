import t from 'tap';
import { Dataset, type Image } from 'seedbed';
import { Job } from '#lib/job.js';
import { chooseWays, type Ways } from '#lib/methods/data-dream/choose.js';
import { PLAIN } from '#lib/methods/data-dream/options.js';
import type { Judged, LearnerCall } from '#lib/experiment/few-shot.js';
import type { TrainEvent } from '#lib/native.js';

const CLASSES = ['cat', 'dog'];
const PIXEL: Image = { data: new Uint8Array(3), width: 1, height: 1, channels: 3 };
const dataset = (name: string, perClass: number): Dataset =>
  new Dataset({ name, classes: CLASSES, entries: CLASSES.flatMap((own, label) => Array.from({ length: perClass }, (_, i) => ({ key: `${name}/${own}/${i}`, label, read: () => Promise.resolve(PIXEL) }))) });

interface Call {
  learnt: string[];
  synthetic: string[] | undefined;
  held: string[];
  share: number | undefined;
  ways: Ways;
}

/** Chooses with classifiers that answer as well as `accuracyOf` says, and notes what they were given. */
async function choose(perClass: number, wanted: Parameters<typeof chooseWays>[1], accuracyOf: (ways: Ways) => number, origins = new Map<string, readonly string[]>()) {
  const calls: Call[] = [];
  let disposed = 0;
  const learn = ({ train, synthetic }: LearnerCall, ways: Ways, share?: number) =>
    new Job<TrainEvent, Judged>(() =>
      Promise.resolve({
        evaluate: (held: Dataset) => {
          calls.push({ learnt: [...train.keys], synthetic: synthetic && [...synthetic.keys], held: [...held.keys], share, ways });
          return new Job(() => Promise.resolve({ accuracy: accuracyOf(ways) } as never));
        },
        dispose: () => disposed++,
      }),
    );
  const choice = await chooseWays({ train: dataset('real', perClass), synthetic: dataset('made', 2) }, wanted, { learn, origins, seed: 0, signal: new AbortController().signal, emit: () => {} });
  return { choice, calls, disposed };
}

const BOTH = { augment: 'choose', realWeight: 'choose' } as const;

t.test('each real picture is held out once, and what was made from it too', async (t) => {
  const origins = new Map([['made/cat/0', ['real/cat/1']], ['made/dog/1', ['real/dog/0', 'real/dog/2']]]);
  const { calls, disposed } = await choose(4, BOTH, () => 0.5, origins);
  t.equal(disposed, calls.length);
  const real = [...dataset('real', 4).keys].sort();
  for (let first = 0; first < calls.length; first += 2) {
    const folds = calls.slice(first, first + 2);
    t.same(folds.flatMap(({ held }) => held).sort(), real);
    for (const { learnt, held, synthetic, share } of folds) {
      t.equal(share, 0.5, 'as many passes');
      t.same([...learnt, ...held].sort(), real);
      t.ok(CLASSES.every((name) => learnt.some((key) => key.includes(name))), 'every class is learnt');
      for (const [made, from] of origins) t.equal(synthetic?.includes(made), !from.some((key) => held.includes(key)), made);
    }
  }
});

t.test('views by real pictures alone, then the weight; the first wins where none is better', async (t) => {
  const plainBest = await choose(2, BOTH, ({ augment, realWeight }) => (augment === PLAIN ? 0.6 : 0.5) + (realWeight === 0.8 ? 0.1 : 0));
  t.same(plainBest.choice.ways, { augment: PLAIN, realWeight: 0.8 });
  t.same(plainBest.choice.trials.map(({ what, value }) => `${what} ${value}`), ['augment varied', 'augment plain', 'realWeight 0.5', 'realWeight 0.8', 'realWeight 1']);
  t.same(plainBest.calls.map(({ ways }) => ways.realWeight), [1, 1, 1, 1, 0.5, 0.5, 0.8, 0.8], 'what is known is not asked again');
  const even = await choose(2, BOTH, () => 0.5);
  t.notSame(even.choice.ways.augment, PLAIN);
  t.equal(even.choice.ways.realWeight, 0.5);
  const harmful = await choose(2, { augment: PLAIN, realWeight: 'choose' }, ({ realWeight }) => realWeight);
  t.same(harmful.choice.ways, { augment: PLAIN, realWeight: 1 });
});

t.test('nothing to hold out, or nothing to choose', async (t) => {
  const single = await choose(1, BOTH, () => 0.5);
  t.match(single, { calls: [], choice: { trials: [], ways: { realWeight: 0.5 } } });
  t.notSame(single.choice.ways.augment, PLAIN);
  const given = await choose(3, { augment: PLAIN, realWeight: 0.7 }, () => 0.5);
  t.match(given, { calls: [], choice: { trials: [], ways: { augment: PLAIN, realWeight: 0.7 } } });
});
