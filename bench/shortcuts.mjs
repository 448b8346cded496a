// What the options that trade exactness for speed gain, and what they cost: time of a whole run, abort latency, and how far the
// final latents and pictures lie from the exact run's with the same seed.
//
//   npm run bench -- shortcuts [--quick] [--json]
//
// BENCH_MODEL names a model's folder. Without it: random weights of Stable Diffusion 1.5's sizes, with which the times mean something and the
// errors little. BENCH_STEPS (20), BENCH_PROMPT and BENCH_SEEDS (1) set the run. --quick: two steps.

import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadDiffusion } from '../dist/lib/index.js';
import { finish, flags, modelFolder, say } from './lib.mjs';

const threads = Number(process.env.SEEDBED_THREADS ?? availableParallelism());
const steps = flags.quick ? 2 : Number(process.env.BENCH_STEPS ?? 20);
const folder = process.env.BENCH_MODEL ?? modelFolder(process.env.BENCH_WORK ?? join(tmpdir(), 'seedbed-bench'), 'sd15');
const CASES = {
  exact: {},
  'featureCache, interval 2': { featureCache: { interval: 2 } },
  'featureCache, interval 3': { featureCache: { interval: 3 } },
  'featureCache, interval 5': { featureCache: { interval: 5 } },
  'tokenMerging, ratio 0.5': { tokenMerging: { ratio: 0.5 } },
  'both, interval 3 and ratio 0.5': { featureCache: { interval: 3 }, tokenMerging: { ratio: 0.5 } },
};

/** Root mean square of the difference over that of the exact values. */
function relativeError(actual, exact) {
  let [difference, size] = [0, 0];
  exact.forEach((value, i) => {
    difference += (actual[i] - value) ** 2;
    size += value ** 2;
  });
  return Math.sqrt(difference / size);
}

/** Peak signal-to-noise ratio of all pictures together, dB. */
function psnr(actual, exact) {
  let [sum, count] = [0, 0];
  exact.forEach(({ data }, k) => data.forEach((value, i) => ((sum += (actual[k].data[i] - value) ** 2), count++)));
  return 10 * Math.log10(255 ** 2 / (sum / count));
}

/** Milliseconds from abort, in the middle of a call of the network, to the error. */
async function abortLatency(sd, options, callMs) {
  const stop = new AbortController();
  const ended = sd.generate({ ...options, signal: stop.signal }).then(() => NaN, () => performance.now());
  await new Promise((resolve) => setTimeout(resolve, callMs * 0.6));
  const aborted = performance.now();
  stop.abort();
  return (await ended) - aborted;
}

const sd = await loadDiffusion(folder, { dtype: 'float32', threads });
const options = { prompt: process.env.BENCH_PROMPT ?? 'a photo of a red fox in the snow', steps, sampler: 'ddim', count: Number(process.env.BENCH_SEEDS ?? 1) };
await sd.generate({ ...options, steps: 1 }); // packs the weights
say(`${sd.info.model}, ${sd.info.imageSize} px, ${steps} steps, ${options.count} pictures, ${threads} threads`);
const results = {};
let exact;
for (const [name, extra] of Object.entries(CASES)) {
  const begin = performance.now();
  const { latents, images } = await sd.generate({ ...options, ...extra });
  const seconds = (performance.now() - begin) / 1000;
  exact ??= { latents, images, seconds };
  const error = relativeError(latents.data, exact.latents.data);
  results[name] = { seconds, faster: exact.seconds / seconds, relativeError: error, psnr: error === 0 ? null : psnr(images, exact.images) };
  say(`  ${name.padEnd(32)} ${seconds.toFixed(1).padStart(7)} s  ${(exact.seconds / seconds).toFixed(2)} x   latents ${(100 * error).toFixed(1)} % off, pictures ${error === 0 ? 'equal' : `${psnr(images, exact.images).toFixed(1)} dB`}`);
}
const callMs = (exact.seconds * 1000) / steps;
const latencies = [];
for (let i = 0; i < 5; i++) latencies.push(await abortLatency(sd, options, callMs * (0.5 + 0.2 * i)));
say(`  abort in the middle of a call: ${latencies.map((ms) => ms.toFixed(0)).join(', ')} ms`);
finish('shortcuts', {}, { threads, steps, results, abortMs: latencies });
