import t from 'tap';
import { setTimeout as delay } from 'node:timers/promises';
import { CancelledError, fractals, Job, trainClassifier, Dataset, type TrainEvent } from 'seedbed';
import { picture, thrown } from './support.js';

/** A job of ours that emits until it is told to stop. */
function counting(limit: number, options: { signal?: AbortSignal } = {}): Job<number, string> {
  return new Job<number, string>(async ({ emit, signal }) => {
    for (let i = 0; i < limit; i++) {
      signal.throwIfAborted();
      emit(i);
      await delay(1);
    }
    return 'done';
  }, options);
}

function tinyData(): Dataset {
  const entries = Array.from({ length: 8 }, (_, i) => ({ key: `p${i}`, label: i % 2, read: () => Promise.resolve(picture(32, 32, 3, i)) }));
  return new Dataset({ name: 'tiny', classes: ['a', 'b'], entries });
}

const endless = (signal?: AbortSignal): Job<TrainEvent, unknown> =>
  trainClassifier({ model: { imageSize: 32, patchSize: 8, width: 32, depth: 1, heads: 2 }, train: tinyData(), steps: 1_000_000, batchSize: 4, ...(signal && { signal }) });

t.test('events come in order and none is lost, then the result', async (t) => {
  const job = counting(50);
  await delay(20); // events wait for their reader
  const seen: number[] = [];
  for await (const i of job) seen.push(i);
  t.same(seen, Array.from({ length: 50 }, (_, i) => i));
  t.equal(await job, 'done');
  t.equal(await job, 'done', 'awaited twice');
});

t.test('awaiting alone gives the result', async (t) => {
  t.equal(await counting(3), 'done');
  t.equal(await counting(3).finally(() => {}), 'done');
});

t.test('a failure reaches whoever awaits or iterates', async (t) => {
  const failing = (): Job<number, void> =>
    new Job<number, void>(async ({ emit }) => {
      emit(1);
      throw new Error('broken');
    });
  t.equal((await thrown(() => failing())).message, 'broken');
  const seen: number[] = [];
  const error = await thrown(async () => {
    for await (const i of failing()) seen.push(i);
  });
  t.equal(error.message, 'broken');
  t.same(seen, [1], 'events before the failure come first');
  t.equal(await failing().catch((e: unknown) => (e as Error).message), 'broken');
});

t.test('an aborted signal refuses the start with its reason', async (t) => {
  const reason = new Error('not today');
  const error = await thrown(() => counting(1, { signal: AbortSignal.abort(reason) }));
  t.equal(error, reason);
});

t.test('native work: cancel, break, abort half-way', async (t) => {
  const cancelled = endless();
  setTimeout(() => cancelled.cancel(), 100);
  const error = await thrown(() => cancelled);
  t.ok(error instanceof CancelledError);
  t.equal(error.code, 'ERR_CANCELLED');

  let steps = 0;
  for await (const event of endless()) {
    if (event.type === 'step' && ++steps === 3) break;
  }
  t.equal(steps, 3, 'leaving the loop ends the work');

  const controller = new AbortController();
  const aborted = endless(controller.signal);
  const begin = performance.now();
  setTimeout(() => controller.abort(new Error('enough')), 100);
  t.equal((await thrown(() => aborted)).message, 'enough', 'rejects with the reason');
  t.ok(performance.now() - begin < 5_000, 'at the next step');
  t.ok(await fractals.render([fractals.sample()], { size: 32, points: 100 }), 'the addon goes on working');
});

t.test('queued jobs can be cancelled before they begin', async (t) => {
  const first = endless();
  const second = endless();
  const third = endless();
  second.cancel();
  t.equal((await thrown(() => second)).code, 'ERR_CANCELLED', 'while the first still runs');
  first.cancel();
  await thrown(() => first);
  let began = false;
  for await (const event of third) {
    began = event.type === 'step';
    break;
  }
  t.ok(began, 'the next one of the lane runs');
});

t.test('the event loop is not blocked', async (t) => {
  const job = endless();
  const delays: number[] = [];
  const until = performance.now() + 500;
  let last = performance.now();
  while (performance.now() < until) {
    await delay(5);
    delays.push(performance.now() - last - 5);
    last = performance.now();
  }
  job.cancel();
  await thrown(() => job);
  const median = delays.sort((a, b) => a - b)[Math.floor(delays.length / 2)] ?? Infinity;
  t.ok(median < 20, `median delay ${median.toFixed(1)} ms`);
});
