import { monitorEventLoopDelay } from 'node:perf_hooks';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { CancelledError, loadDiffusion, type Diffusion, type Generated, type GenerateEvent, type GenerateOptions, type StepProgress } from 'seedbed';
import { formulaNets, storedModel, writeFormulaPipeline } from './formula.js';
import { picture, runScript, thrown, worst } from './support.js';

const folder = writeFormulaPipeline(join(t.testdir(), 'tiny'), 'sd1', undefined, { unet: storedModel('unet', 'small'), vae: storedModel('vae', 'small'), text: formulaNets('sd1').text });
const load = (): PromiseLike<Diffusion> => loadDiffusion(folder, { dtype: 'float32', threads: 1 });

/** Some seconds of work, that nobody waits for. */
const LONG: GenerateOptions = { prompt: 'a red cat', steps: 999, sampler: 'ddim' };
const SHORT: GenerateOptions = { prompt: 'a red cat', negativePrompt: 'dog', steps: 3, guidanceScale: 4 };

/** All bytes of a result as a text: the test library takes seconds to compare thousands of numbers. */
const bytesOf = ({ latents, images }: Generated): string => [latents.data, ...images.map(({ data }) => data)].map((data) => Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64')).join();

async function firstStep(events: AsyncIterable<GenerateEvent>): Promise<void> {
  for await (const event of events) if (event.type === 'step') return;
}

t.test('abort half-way takes effect soon, and the model goes on', async (t) => {
  using sd = await load();
  const late: number[] = [];
  // Other programs may hold the processor, so the best of some tries counts.
  for (let i = 0; i < 5 && !late.some((ms) => ms < 100); i++) {
    const controller = new AbortController();
    const reason = new Error('enough');
    let aborted = 0;
    const error = await thrown(async () => {
      for await (const { type } of sd.generate({ ...LONG, signal: controller.signal })) {
        if (type !== 'step' || aborted > 0) continue;
        aborted = performance.now();
        controller.abort(reason);
      }
    });
    late.push(performance.now() - aborted);
    t.equal(error, reason);
  }
  t.ok(Math.min(...late) < 100, `${Math.min(...late).toFixed(1)} ms after it`);
  t.equal((await sd.generate(SHORT)).images.length, 1);
});

t.test('an aborted signal, one that comes while the job waits, and cancel()', async (t) => {
  using sd = await load();
  const reason = new Error('not today');
  t.equal(await thrown(() => sd.generate({ ...SHORT, signal: AbortSignal.abort(reason) })), reason);
  const running = sd.generate(LONG);
  const controller = new AbortController();
  const waiting = sd.generate({ ...SHORT, signal: controller.signal });
  await firstStepOf(running);
  controller.abort(reason);
  t.equal(await thrown(() => waiting), reason, 'while the first runs');
  running.cancel();
  t.ok((await thrown(() => running)) instanceof CancelledError);
});

/** Waits until a job has begun, without leaving its loop, which would cancel it. */
async function firstStepOf(job: AsyncIterable<GenerateEvent>): Promise<void> {
  const events = job[Symbol.asyncIterator]();
  for (;;) {
    const { value, done } = await events.next();
    if (done === true || (value).type === 'step') return;
  }
}

t.test('leaving the loop over the events cancels', async (t) => {
  using sd = await load();
  const job = sd.generate(LONG);
  await firstStep(job);
  t.ok((await thrown(() => job)) instanceof CancelledError);
  const begin = performance.now();
  await sd.generate(SHORT);
  t.ok(performance.now() - begin < 3000, 'the next one does not wait for the rest of the steps');
});

t.test('disposing of the model lets a run finish', async (t) => {
  const sd = await load();
  const expected = bytesOf(await sd.generate(SHORT));
  const job = sd.generate({ ...SHORT, steps: 3 });
  await firstStepOf(job);
  sd.dispose();
  t.equal(bytesOf(await job), expected);
  t.match(await thrown(() => sd.generate(SHORT)), { code: 'ERR_DISPOSED' });
});

t.test('calls on one model run in the order they came, each as if alone', async (t) => {
  using sd = await load();
  const calls = Array.from({ length: 8 }, (_, i): GenerateOptions => ({ ...SHORT, seed: 10 * i, steps: 2 + (i % 3), count: 1 + (i % 2), prompt: i % 2 ? 'a dog' : 'a house in red' }));
  const alone: string[] = [];
  for (const call of calls) alone.push(bytesOf(await sd.generate(call)));
  const order: number[] = [];
  const together = await Promise.all(
    calls.map(async (call, i) => {
      const result = await sd.generate(call);
      order.push(i);
      return bytesOf(result);
    }),
  );
  t.same(order, [0, 1, 2, 3, 4, 5, 6, 7]);
  together.forEach((bytes, i) => t.ok(bytes === alone[i], `call ${i}`));
  t.equal(new Set(alone).size, 8, 'and they differ');
});

t.test('events: steps add up over the batches, in order; previews come when asked for', async (t) => {
  using sd = await load();
  const seen: StepProgress[] = [];
  const job = sd.generate({ ...SHORT, sampler: 'euler', steps: 4, count: 5, batchSize: 2, previewEvery: 2 });
  for await (const event of job) if (event.type === 'step') seen.push(event);
  t.same(seen.map(({ step }) => step), Array.from({ length: 12 }, (_, i) => i + 1), 'three batches of four steps');
  t.ok(seen.every(({ steps }) => steps === 12));
  for (let batch = 0; batch < 3; batch++) {
    const sigmas = seen.slice(4 * batch, 4 * batch + 4).map(({ sigma }) => sigma);
    t.ok(sigmas.every((sigma, i) => sigma >= 0 && (i === 0 || sigma < (sigmas[i - 1] as number))), `less noise at each step (${sigmas.join(', ')})`);
  }
  t.same(seen.map(({ preview }) => preview?.length ?? 0), [0, 2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0], 'after every second step but the last, of each picture of the batch');
  t.match(seen[1]?.preview?.[0], { width: 16, height: 16, channels: 3 });
  t.same((await job).seeds, [0, 1, 2, 3, 4]);
  const plain: StepProgress[] = [];
  for await (const event of sd.generate(SHORT)) if (event.type === 'step') plain.push(event);
  t.ok(plain.every(({ preview }) => preview === undefined), 'none when not');
});

t.test('the part of a prompt that is lost is said', async (t) => {
  using sd = await load();
  const warnings: string[] = [];
  for await (const event of sd.generate({ ...SHORT, prompt: 'red '.repeat(90) })) if (event.type === 'warning') warnings.push(event.message);
  t.equal(warnings.length, 1);
  t.match(warnings[0], /reads 77 tokens; this part of the prompt is lost: 'red( red)*'/);
});

t.test('same call, same bytes; a picture of a batch is the picture alone', async (t) => {
  using sd = await load();
  // Without guidance, which multiplies the rounding by its scale.
  const call: GenerateOptions = { ...SHORT, seed: 40, count: 3, sampler: 'euler_ancestral', guidanceScale: 1 };
  const batch = await sd.generate(call);
  t.equal(bytesOf(await sd.generate(call)), bytesOf(batch));
  t.same(batch.seeds, [40, 41, 42]);
  for (const [i, seed] of batch.seeds.entries()) {
    // A batch of another size goes through other kernels, which add in another order.
    const { latents } = await sd.generate({ ...call, seed, count: 1 });
    const one = latents.data.length;
    const ratio = worst(batch.latents.data.subarray(i * one, (i + 1) * one), latents.data, { atol: 1e-5, rtol: 1e-5 });
    t.ok(ratio <= 1, `picture ${i} within 1e-5 (${ratio.toFixed(3)})`);
  }
  // With strength 0 nothing is computed but the autoencoder's draw from its distribution: the noise itself, to the last bit.
  const drawn = { prompt: 'a cat', image: picture(16, 16, 3), strength: 0, decode: false } as const;
  const both = await sd.generate({ ...drawn, seed: 6, count: 2 });
  const second = await sd.generate({ ...drawn, seed: 7 });
  t.ok(Buffer.from(both.latents.data.slice(256).buffer).equals(Buffer.from(second.latents.data.slice().buffer)), 'noise of seed 7 is that of the second picture from seed 6');
  t.ok(worst(both.latents.data.subarray(0, 256), second.latents.data, { atol: 1e-3 }) > 1, 'and another than that of the first');
  // In batches of one, the same kernels run as for one picture.
  const single = await sd.generate({ ...call, batchSize: 1 });
  const alone = await sd.generate({ ...call, seed: 42, count: 1 });
  t.ok(Buffer.from(single.latents.data.slice(512).buffer).equals(Buffer.from(alone.latents.data.slice().buffer)), 'the same bytes in batches of one');
});

t.test('one thread and two threads', async (t) => {
  using sd = await load();
  const call: GenerateOptions = { ...SHORT, steps: 1, decode: false };
  const one = await sd.generate({ ...call, threads: 1 });
  const two = await sd.generate({ ...call, threads: 2 });
  // What holds: a tolerance, not the same bytes. Matrix products may be cut differently for another number of threads.
  t.ok(worst(two.latents.data, one.latents.data, { atol: 1e-5, rtol: 1e-5 }) <= 1, 'within 1e-5');
  t.equal(bytesOf(await sd.generate({ ...call, threads: 2 })), bytesOf(two), 'and the same bytes for the same number');
});

t.test('while a picture is made, the event loop stays free', async (t) => {
  using sd = await load();
  const p99: number[] = [];
  // Other programs may hold the processor; a loop that this one blocked would be late every time.
  for (let i = 0; i < 5 && !p99.some((ms) => ms < 20); i++) {
    const delay = monitorEventLoopDelay({ resolution: 5 });
    delay.enable();
    let steps = 0;
    for await (const { type } of sd.generate({ ...LONG, steps: 80, count: 2, previewEvery: 10 })) if (type === 'step') steps++;
    delay.disable();
    t.equal(steps, 80);
    p99.push(delay.percentile(99) / 1e6);
  }
  t.ok(Math.min(...p99) < 20, `99th percentile ${p99.map((ms) => ms.toFixed(1)).join(', ')} ms`);
});

const WORKER = `import { parentPort, workerData } from 'node:worker_threads';
import { loadDiffusion } from '${import.meta.resolve('seedbed')}';
const sd = await loadDiffusion(workerData.folder, { dtype: 'float32', threads: 1 });
const { latents } = await sd.generate(workerData.call);
sd.dispose();
parentPort.postMessage(latents.data);`;

function inWorker(call: GenerateOptions): Promise<Float32Array> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(WORKER)}`), { workerData: { folder, call } });
    let result: Float32Array | undefined;
    worker.on('message', (data: Float32Array) => (result = data));
    worker.on('error', reject);
    worker.on('exit', (code) => (code === 0 && result !== undefined ? resolve(result) : reject(new Error(`worker ended with ${code}`))));
  });
}

t.test('worker threads load a model each', async (t) => {
  using sd = await load();
  const calls = [1, 2].map((seed): GenerateOptions => ({ ...SHORT, seed }));
  const there = await Promise.all(calls.map(inWorker));
  for (const [i, call] of calls.entries()) {
    const here = (await sd.generate(call)).latents.data;
    t.ok(Buffer.from(here.slice().buffer).equals(Buffer.from((there[i] as Float32Array).slice().buffer)), `worker ${i}`);
  }
});

const START = `import { loadDiffusion } from 'seedbed';
const sd = await loadDiffusion(process.argv[1], { threads: 1 });
const job = sd.generate({ prompt: 'a cat', steps: 999, sampler: 'ddim' });
job.catch(() => {});
for await (const event of job) if (event.type === 'step') leave();
function leave() {`;

t.test('a process that exits while a picture is made ends cleanly', async (t) => {
  const [exit, uncaught] = await Promise.all([`process.exit(7)`, `throw new Error('mine')`].map((leave) => runScript(`${START} ${leave}; }`, { args: [folder] })));
  t.equal(exit?.code, 7, exit?.stderr ?? '');
  t.equal(exit?.stderr, '');
  t.equal(uncaught?.code, 1);
  t.match(uncaught?.stderr, /mine/);
});

t.test('memory is given back', async (t) => {
  // 2 %, or 4 MiB where that is more: a process this small is noisy by what the allocator keeps. Node's young generation is held
  // small, or filling it for the first time would count as growth.
  const script = `import { loadDiffusion } from 'seedbed';
const sd = await loadDiffusion(process.argv[1], { threads: 1, dtype: 'float32' });
const resident = async () => { for (let i = 0; i < 3; i++) { globalThis.gc(); await new Promise(setImmediate); } return process.memoryUsage().rss; };
const make = (seed) => sd.generate({ prompt: 'a red cat', steps: 1, seed, guidanceScale: 1 });
for (let i = 0; i < 20; i++) await make(i);
const before = await resident();
for (let i = 20; i < 200; i++) await make(i);
const after = await resident();
console.log(((after - before) / 2 ** 20).toFixed(2), (before / 2 ** 20).toFixed(1));`;
  const { code, stdout, stderr } = await runScript(script, { args: [folder], flags: ['--expose-gc', '--max-semi-space-size=1'] });
  t.equal(code, 0, stderr);
  const [grown = NaN, before = NaN] = stdout.split(' ').map(Number);
  t.ok(grown < Math.max(0.02 * before, 4), `180 pictures grew a process of ${before} MiB by ${grown} MiB`);
});
