import { existsSync, readFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { fractals, kernelDistance, loadClassifier, trainClassifier, Dataset, type Image } from 'seedbed';
import { picture, runScript, thrown } from './support.js';

const START = `import { fractals, onePFrac } from 'seedbed';
const job = onePFrac({ model: 'vit_micro_patch4_32', count: 4, size: 64, points: 3000, padding: 2, steps: 100000, batchSize: 16, mixup: false });
job.catch(() => {});
for await (const event of job) if (event.type === 'step') break_out(event);
function break_out() {`;

t.test('a process that exits in the middle of a job ends cleanly', async (t) => {
  const exit = await runScript(`${START} process.exit(7); }`);
  t.equal(exit.code, 7, exit.stderr);
  t.equal(exit.stderr, '');
  const uncaught = await runScript(`${START} throw new Error('mine'); }`);
  t.equal(uncaught.code, 1);
  t.match(uncaught.stderr, /mine/);
  const terminated = await runScript(`${START} process.kill(process.pid, 'SIGTERM'); setInterval(() => {}, 1000); }`);
  t.match(terminated.stderr, /SIGTERM/, 'the default action stands');
});

t.test('a process waits for a job that is awaited, and ends when it is done', async (t) => {
  const { code, stdout } = await runScript(`import { fractals } from 'seedbed';
const images = await fractals.render([fractals.sample()], { size: 64, points: 3000 });
console.log(images.shape.join(' '));`);
  t.equal(code, 0);
  t.equal(stdout, '1 64 64\n');
});

t.test('an unhandled failure is not swallowed', async (t) => {
  const { code, stderr } = await runScript(`import { fractals } from 'seedbed';
fractals.family({ size: 64, points: 1000, sigmaFactor: 0.3, maxBaseTries: 1 });`);
  t.equal(code, 1);
  t.match(stderr, /ERR_DEGENERATE_FRACTAL/);
});

const WORKER = `import { parentPort, workerData } from 'node:worker_threads';
import { fractals } from 'seedbed';
const family = await fractals.family({ size: 64, points: 3000, padding: 2, count: 20, seed: workerData, threads: 1 });
const images = await fractals.render(family.copies, { size: 64, points: 3000, padding: 2, textureSeeds: [...family.textureSeeds], threads: 1 });
parentPort.postMessage(images.data);`;

function inWorker(seed: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(WORKER.replaceAll("'seedbed'", `'${import.meta.resolve('seedbed')}'`))}`), { workerData: seed });
    let result: Uint8Array | undefined;
    worker.on('message', (data: Uint8Array) => (result = data));
    worker.on('error', reject);
    worker.on('exit', (code) => (code === 0 && result !== undefined ? resolve(result) : reject(new Error(`worker ended with ${code}`))));
  });
}

t.test('two worker threads use the addon side by side, and again after they ended', async (t) => {
  const here = async (seed: number): Promise<Uint8Array> => {
    const family = await fractals.family({ size: 64, points: 3000, padding: 2, count: 20, seed });
    return (await fractals.render(family.copies, { size: 64, points: 3000, padding: 2, textureSeeds: [...family.textureSeeds] })).data;
  };
  const [one, two] = await Promise.all([inWorker(1), inWorker(2)]);
  t.same(one, await here(1));
  t.same(two, await here(2));
  t.same(await inWorker(1), one);
});

t.test('a worker that is terminated in the middle of a job ends', async (t) => {
  const source = `import { parentPort } from 'node:worker_threads';
import { onePFrac } from '${import.meta.resolve('seedbed')}';
const job = onePFrac({ model: 'vit_micro_patch4_32', count: 4, size: 64, points: 3000, padding: 2, steps: 100000, batchSize: 16, mixup: false });
for await (const event of job) if (event.type === 'step') parentPort.postMessage(event.step);`;
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`));
  await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
  const begin = performance.now();
  await worker.terminate();
  t.ok(performance.now() - begin < 10_000);
  t.ok(await fractals.render([fractals.sample()], { size: 32, points: 100 }), 'the main thread goes on');
});

t.test('the addon loads twice in one process', async (t) => {
  const { code, stdout, stderr } = await runScript(`import { createRequire } from 'node:module';
import { fractals } from 'seedbed';
import { findAddon } from '#lib/setup/find.js';
const first = fractals.sample({ seed: 1 });
const require = createRequire(import.meta.url);
const addon = findAddon().main;
delete require.cache[addon];
const again = require(addon);
console.log(JSON.stringify(again.sampleIfs({ seed: 1 })) === JSON.stringify(first));`);
  t.equal(code, 0, stderr);
  t.equal(stdout, 'true\n');
});

t.test('handles: disposed twice, used after, disposed during a run', async (t) => {
  const entries = Array.from({ length: 4 }, (_, i) => ({ key: `p${i}`, label: i % 2, read: (): Promise<Image> => Promise.resolve(picture(32, 32, 3, i)) }));
  const data = new Dataset({ name: 'tiny', classes: ['a', 'b'], entries });
  const classifier = await trainClassifier({ model: 'vit_micro_patch4_32', train: data, steps: 1, batchSize: 4 });
  const images = Array.from({ length: 200 }, (_, i) => picture(48, 48, 3, i));
  const running = classifier.logits(images);
  await new Promise(setImmediate);
  classifier.dispose();
  t.same((await running).shape, [200, 2], 'work that began goes on');
  classifier.dispose();
  for (const use of [() => classifier.info, () => classifier.weights(), () => classifier.logits(images), () => classifier.evaluate(data)]) {
    const error = await thrown(use);
    t.equal(error.code, 'ERR_DISPOSED');
    t.match(error.message, /Expected a classifier that is not disposed/);
  }
});

t.test('predictions can be aborted between batches', async (t) => {
  const entries = Array.from({ length: 4 }, (_, i) => ({ key: `p${i}`, label: i % 2, read: (): Promise<Image> => Promise.resolve(picture(32, 32, 3, i)) }));
  const classifier = await trainClassifier({ model: 'vit_mini_patch4_32', train: new Dataset({ name: 'tiny', classes: ['a', 'b'], entries }), steps: 1, batchSize: 4 });
  const images = Array.from({ length: 6400 }, () => picture(32, 32, 3));
  const controller = new AbortController();
  const job = classifier.logits(images, { signal: controller.signal });
  const begin = performance.now();
  setTimeout(() => controller.abort(new Error('enough')), 50);
  t.equal((await thrown(() => job)).message, 'enough');
  t.ok(performance.now() - begin < 3_000, 'long before all 100 batches are done');
});

t.test('memory is given back', async (t) => {
  const { code, stdout, stderr } = await runScript(
    `import { fractals } from 'seedbed';
const ifs = [fractals.sample()];
const render = () => fractals.render(Array(4).fill(ifs[0]), { size: 512, points: 1000 });
const resident = async () => { for (let i = 0; i < 3; i++) { globalThis.gc(); await new Promise(setImmediate); } return process.memoryUsage().rss; };
for (let i = 0; i < 200; i++) await render();
const before = await resident();
for (let i = 0; i < 800; i++) await render();
const grown = await resident() - before;
console.log((grown / 2 ** 20).toFixed(1), (process.memoryUsage().arrayBuffers / 2 ** 20).toFixed(1));`,
    { flags: ['--expose-gc'] },
  );
  t.equal(code, 0, stderr);
  const [grown = NaN, held = NaN] = stdout.split(' ').map(Number);
  t.ok(held < 8, `${held} MiB of results are still held`);
  t.ok(grown < 100, `800 results of 1 MiB each grew the process by ${grown} MiB`);
});

t.test('photographs of many pixels do not fill the memory', async (t) => {
  const { code, stdout, stderr } = await runScript(`import { Dataset, trainClassifier } from 'seedbed';
const [width, height] = [4000, 3000];
const entries = Array.from({ length: 40 }, (_, i) => ({ key: String(i), label: i % 2, read: () => Promise.resolve({ data: new Uint8Array(width * height * 3).fill(i), width, height, channels: 3 }) }));
const train = new Dataset({ name: 'photographs', classes: ['a', 'b'], entries });
const before = process.resourceUsage().maxRSS;
const classifier = await trainClassifier({ model: { imageSize: 32, patchSize: 8, width: 32, depth: 1, heads: 2 }, train, steps: 1, batchSize: 4, threads: 1 });
await classifier.evaluate(train, { threads: 1 });
classifier.dispose();
console.log((process.resourceUsage().maxRSS - before) / 1024);`);
  t.equal(code, 0, stderr);
  t.ok(Number(stdout) < (40 * 36e6) / 2 ** 20, `40 pictures of 36 MB took ${stdout.trim()} MiB`);
});

const STATUS = '/proc/self/status';

t.test('no threads of a job wait for the next one', { skip: !existsSync(STATUS) && `needs ${STATUS}` }, async (t) => {
  const running = (): number => Number(/Threads:\s+(\d+)/.exec(readFileSync(STATUS, 'utf8'))?.[1]);
  const features = (step: number) => ({ data: Float32Array.from({ length: 800 * 256 }, (_, i) => Math.sin(i * step)), shape: [800, 256], dtype: 'float32' as const });
  const [one, other] = [features(1), features(2)];
  await kernelDistance(one, other, { threads: 1 });
  const before = running();
  await kernelDistance(one, other, { threads: 6 });
  t.equal(running(), before, 'a team of OpenMP that waits makes those of other jobs slow');
  using classifier = await loadClassifier('fractal-vit-nano');
  t.ok(classifier.info.parameters > 0);
  t.equal(running(), before, 'nor does one of the JavaScript thread wait');
});

t.test('a native error does not crash: wrong JavaScript types at the border', async (t) => {
  const { code, stdout, stderr } = await runScript(`import { native } from '#lib/native.js';
process.chdir(process.argv[1]);
const n = native();
const values = [undefined, null, 1, 'x', {}, [], () => {}, Symbol.iterator, 2n ** 70n, NaN, new Uint8Array(3), new Proxy({}, { get() { throw new Error('trap'); } })];
let threw = 0, passed = 0;
for (const [name, call] of Object.entries(n)) {
  if (name === 'measureMatmul' || name === 'stopJobs') continue;
  for (const a of values) for (const b of values) {
    try { call(a, b, () => {}); passed++; } catch (error) { if (!error.code) console.log(name, String(error)); threw++; }
  }
}
await new Promise((resolve) => setTimeout(resolve, 200));
console.log('alive', threw > 1000);
process.exit(0);`, { args: [t.testdir()] });
  t.equal(code, 0, stderr.slice(0, 500));
  t.match(stdout, /alive true/);
  t.equal((await thrown(() => loadClassifier(7 as never))).code !== undefined, true);
});
