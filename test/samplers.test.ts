import { Worker } from 'node:worker_threads';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { parseSchedulerConfig, planSampling, sample, SAMPLER_NAMES, type DiffusionStep, type PredictQuestion, type Sampler, type SampleOptions, type SamplerName, type SamplingPlan, type SchedulerConfig, type Tensor } from 'seedbed';
import { resolveSampler, samplerFromConfig } from '#lib/scheduler-config.js';
import { golden, ramp, runScript, thrown, worst } from './support.js';

interface Loop {
  name: string;
  config: SchedulerConfig;
  predictor: 'dummy' | 'smooth';
  steps?: number;
  strength?: number;
  eta?: number;
  timesteps?: number[];
  sigmas?: number[];
  asked: number[];
  result: number[];
}

interface Stated {
  test: string;
  config: SchedulerConfig;
  steps: number;
  start: number;
  sum: number | null;
  mean: number | null;
  initSigma: number;
}

const { seed, shape, loops, schedules, stated } = golden('samplers') as {
  seed: number;
  shape: number[];
  loops: Loop[];
  schedules: { config: SchedulerConfig; steps?: number; every?: number; last?: number; alphasCumprod?: number[]; timesteps: number[]; sigmas: number[] }[];
  stated: Stated[];
};

/** The predictors of scripts/golden/samplers.py. */
const FORMULAS = {
  dummy: (x: number, t: number) => (x * t) / (t + 1),
  smooth: (x: number, t: number) => 0.5 * x * Math.cos(t / 300) + 0.2 * Math.sin(2 * x) + 0.1,
};

function elementwise(x: Tensor<'float32'>, formula: (value: number, i: number) => number): Tensor<'float32'> {
  return { ...x, data: x.data.map(formula) };
}

const predictor =
  (formula: (x: number, t: number) => number) =>
  ({ x, timestep }: PredictQuestion): Tensor<'float32'> =>
    elementwise(x, (value) => formula(value, timestep));

const smooth = predictor(FORMULAS.smooth);
const SHAPE = [1, 4, 8, 8];

/** Largest difference over the largest number. */
function distance(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  const scale = Array.from(expected).reduce((largest, value) => Math.max(largest, Math.abs(value)), 1e-3);
  return worst(actual, expected, { rtol: 0, atol: scale });
}

t.test('wrong options are refused with the name and the value', async (t) => {
  const cases: [Record<string, unknown>, string, RegExp][] = [
    [{ steps: 0 }, 'ERR_INVALID_ARGUMENT', /of at least 1 for steps, received 0/],
    [{ steps: 10_001 }, 'ERR_INVALID_ARGUMENT', /of at most 10000 for steps, received 10001/],
    [{ steps: 1001 }, 'ERR_INVALID_ARGUMENT', /at most 1000 steps here, received 1001/],
    [{ sampler: 'eulr' }, 'ERR_INVALID_ARGUMENT', /for sampler, received 'eulr'; did you mean 'euler'\?/],
    [{ sampler: { type: 'dpm_2m' } }, 'ERR_INVALID_ARGUMENT', /did you mean 'dpmpp_2m'\?/],
    [{ sampler: { type: 'ddim', etta: 1 } }, 'ERR_INVALID_ARGUMENT', /Unknown option 'etta' for the sampler ddim; did you mean 'eta'\?/],
    [{ sampler: { type: 'ddim', sigmas: 'karras' } }, 'ERR_INVALID_ARGUMENT', /Unknown option 'sigmas' for the sampler ddim/],
    [{ sampler: { type: 'euler', sigmas: 'karas' } }, 'ERR_INVALID_ARGUMENT', /sigmas, received 'karas'/],
    [{ sampler: { type: 'euler', sigmas: [1, 2, 0] }, steps: undefined }, 'ERR_INVALID_ARGUMENT', /falling numbers for sigmas, received 2 after 1/],
    [{ sampler: { type: 'euler', timesteps: [5, 1] } }, 'ERR_INVALID_ARGUMENT', /steps or a list of timesteps, received both/],
    [{ sampler: { type: 'ddim', timesteps: [99.5, 1] }, steps: undefined }, 'ERR_INVALID_ARGUMENT', /whole numbers for timesteps, received 99.5/],
    [{ sampler: { type: 'ddim', timesteps: [1000, 1] }, steps: undefined }, 'ERR_INVALID_ARGUMENT', /at most 999, received 1000/],
    [{ sampler: 'lcm', steps: 51 }, 'ERR_INVALID_ARGUMENT', /at most 50 steps here/],
    [{ sampler: 7 }, 'ERR_INVALID_ARGUMENT', /name of a sampler.*received 7/],
    [{ schedulerConfig: { prediction_type: 'flow' } }, 'ERR_INVALID_ARGUMENT', /'epsilon'.*for prediction_type, received 'flow'/],
    [{ schedulerConfig: { use_beta_sigmas: true } }, 'ERR_INVALID_ARGUMENT', /use_beta_sigmas, received true/],
    [{ schedulerConfig: { betaStrat: 0.1 } }, 'ERR_INVALID_ARGUMENT', /Unknown option 'beta_strat' for schedulerConfig; did you mean 'beta_start'\?/],
    [{ schedulerConfig: { _class_name: 'FlowMatchEulerDiscreteScheduler' } }, 'ERR_INVALID_ARGUMENT', /_class_name, received 'FlowMatchEulerDiscreteScheduler'/],
    [{ schedulerConfig: { trained_betas: [0.1, 2] } }, 'ERR_INVALID_ARGUMENT', /betas inside \(0, 1\), received 2/],
    [{ predict: 'model' }, 'ERR_INVALID_ARGUMENT', /Expected a function for predict, received 'model'/],
    [{ shape: undefined }, 'ERR_INVALID_ARGUMENT', /Expected latents, shape or init/],
    [{ shape: [4, 8, 8] }, 'ERR_INVALID_ARGUMENT', /shape/],
    [{ latents: ramp(1, [4, 8, 8]), shape: undefined }, 'ERR_SHAPE', /4 sizes \(batch, channels, height, width\), received 3/],
    [{ latents: ramp(1, [1, 4, 8, 4]) }, 'ERR_SHAPE', /one shape/],
    [{ latents: { ...ramp(1, SHAPE), shape: [1, 4, 8, 9] } }, 'ERR_SHAPE', /bytes/],
    [{ latents: { data: new Float64Array(256), shape: SHAPE, dtype: 'float64' } }, 'ERR_DTYPE', /latents must be Float/],
    [{ latents: { ...ramp(1, SHAPE), data: new Float32Array(256).fill(NaN) } }, 'ERR_NOT_FINITE', /latents, received 256 of 256/],
    [{ strength: 0.5 }, 'ERR_INVALID_ARGUMENT', /Expected init for strength/],
    [{ stepz: 3 }, 'ERR_INVALID_ARGUMENT', /Unknown option 'stepz' for sample; did you mean 'steps'\?/],
  ];
  for (const [wrong, code, message] of cases) {
    const error = await thrown(() => sample({ predict: smooth, shape: SHAPE, steps: 5, ...wrong }));
    t.equal(error.code, code, JSON.stringify(wrong));
    t.match(error.message, message);
  }
  t.equal((await thrown(() => parseSchedulerConfig('{'))).code, 'ERR_FILE_FORMAT');
});

t.test('every sampler refuses no steps and too many', async (t) => {
  for (const type of SAMPLER_NAMES) {
    for (const [steps, message] of [[0, /of at least 1 for steps, received 0$/], [10_001, /of at most 10000 for steps, received 10001$/], [2.5, /an integer for steps, received 2\.5$/]] as const) {
      for (const sampler of [type, { type }]) {
        t.match(await thrown(() => planSampling({ sampler, steps })), { code: 'ERR_INVALID_ARGUMENT', message }, `${type}, ${steps} steps, planned`);
        t.match(await thrown(() => sample({ predict: smooth, shape: SHAPE, sampler, steps })), { code: 'ERR_INVALID_ARGUMENT', message }, `${type}, ${steps} steps`);
      }
    }
  }
  const sigmas = Array.from({ length: 10_002 }, (_, i) => 10_001 - i);
  t.match(await thrown(() => planSampling({ sampler: { type: 'euler', sigmas } })), { code: 'ERR_INVALID_ARGUMENT', message: /from 1 to 10000 for steps, received 10001$/ }, 'a list of as many');
});

// With an offset of 1, as Stable Diffusion's configs have it, evenly spaced steps begin at timestep 1000 of 0 to 999. In diffusers 0.42.1
// DDIM, DDPM and PNDM then fail with "IndexError: index 1000 is out of bounds", the multistep ones give NaN at their second step (two equal
// sigmas), and the others count it as 999: sigmas 14.6146, 14.6146, 14.5263, ... LCM counts in its own timesteps.
t.test('timesteps beyond the trained ones are refused, or clipped where diffusers clips', async (t) => {
  const schedulerConfig: SchedulerConfig = { beta_start: 0.00085, beta_end: 0.012, beta_schedule: 'scaled_linear', timestep_spacing: 'leading', steps_offset: 1 };
  for (const sampler of ['ddim', 'ddpm', 'pndm', 'lms', 'dpmpp_2m', 'dpmpp_2m_sde', 'unipc'] as const) {
    const steps = ['dpmpp_2m', 'dpmpp_2m_sde', 'unipc'].includes(sampler) ? 999 : 1000; // these count one step more
    const message = new RegExp(`^Expected timesteps of at most 999, received 1000 from ${steps} steps with steps_offset 1; take fewer steps or the spacing trailing$`);
    t.match(await thrown(() => planSampling({ sampler, steps, schedulerConfig })), { code: 'ERR_INVALID_ARGUMENT', message }, sampler);
    t.match(await thrown(() => sample({ predict: smooth, shape: SHAPE, sampler, steps, schedulerConfig })), { code: 'ERR_INVALID_ARGUMENT', message }, sampler);
    t.equal(planSampling({ sampler, steps: 500, schedulerConfig }).levels[0]?.timestep, steps === 1000 ? 999 : 501, `${sampler}: fewer steps fit`);
    t.equal(planSampling({ sampler: { type: sampler, spacing: 'trailing' }, steps, schedulerConfig }).levels[0]?.timestep, 999, `${sampler}: trailing fits`);
  }
  for (const sampler of ['euler', 'euler_ancestral', 'heun', 'kdpm2'] as const) {
    const { levels } = planSampling({ sampler, steps: 1000, schedulerConfig });
    t.same(levels.slice(0, 3).map(({ timestep }) => timestep), [1000, 999, 998], sampler);
    t.ok(worst(levels.slice(0, 3).map(({ sigma }) => sigma), [14.6146469, 14.6146469, 14.5262804], { rtol: 1e-6 }) <= 1, sampler);
  }
  const lcm = planSampling({ sampler: { type: 'lcm', originalSteps: 1000 }, steps: 1000, schedulerConfig });
  t.equal(lcm.levels[0]?.timestep, 999, 'lcm');
});

t.test('what a predictor does wrong', async (t) => {
  const mine = new TypeError('mine');
  const run = (predict: (question: PredictQuestion) => unknown): Promise<{ code?: string; message: string }> => thrown(() => sample({ predict: predict as SampleOptions['predict'], shape: SHAPE, steps: 5 }));
  t.equal(await run(() => { throw mine; }), mine, 'its very error');
  t.equal(await run(() => Promise.reject(mine)), mine);
  let calls = 0;
  t.equal(await run((q) => (++calls === 3 ? Promise.reject(mine) : smooth(q))), mine);
  t.equal(calls, 3);
  t.match(await run(() => ramp(1, [1, 4, 8, 4])), { code: 'ERR_SHAPE', message: 'The tensor that predict returned must have shape [1, 4, 8, 8], got [1, 4, 8, 4]' });
  t.match(await run(({ x }) => elementwise(x, () => NaN)), { code: 'ERR_NOT_FINITE', message: /predict returned, received 256 of 256/ });
  t.match(await run(() => ({ data: new Float64Array(256), shape: SHAPE, dtype: 'float64' })), { code: 'ERR_DTYPE' });
  t.equal((await run(() => undefined)).code, 'ERR_INVALID_ARGUMENT');
  t.equal((await run(() => 7)).code, 'ERR_INVALID_ARGUMENT');
  t.match(await thrown(() => sample({ predict: smooth, shape: SHAPE, schedulerConfig: { rescale_betas_zero_snr: true, timestep_spacing: 'trailing' } })), { message: /v_prediction or sample/ }, 'noise says nothing where there is only noise');
});

t.test('schedules equal those of diffusers', async (t) => {
  for (const { config, steps = 10, every, last, alphasCumprod, timesteps, sigmas } of schedules) {
    const name = JSON.stringify(config).slice(0, 160);
    const plan = planSampling({ schedulerConfig: config, steps });
    // diffusers computes in float32: 1 - beta and 1 - alphas_cumprod keep few digits where the first is small (at the end of
    // cosine and zero-SNR schedules) or the second (at the beginning of all).
    const rtol = 'rescale_betas_zero_snr' in config || 'beta_schedule' in config && config.beta_schedule === 'squaredcos_cap_v2' ? 1e-4 : 1e-5;
    if (alphasCumprod !== undefined) t.ok(worst(plan.alphasCumprod.filter((_, i) => i % (every ?? 1) === 0), alphasCumprod, { rtol, atol: 1e-9 }) <= 1, `alphas ${name}`);
    if (last !== undefined) t.ok(Math.abs((plan.alphasCumprod.at(-1) ?? NaN) - last) <= rtol * last, `last alpha ${name}`);
    t.ok(worst(plan.levels.map((level) => level.timestep), timesteps, { rtol: 1e-5, atol: 1e-2 }) <= 1, `timesteps ${name}`);
    const ours = [...plan.levels, ...plan.targets.slice(-1)].map((level) => level.sigma);
    for (const [i, sigma] of sigmas.entries()) {
      const rounding = sigma === 0 ? 0 : (2 ** -24 * (1 + sigma * sigma)) / sigma;
      t.ok(Math.abs((ours[i] ?? NaN) - sigma) <= rtol * sigma + rounding, `sigma ${i} ${name}: ${ours[i]}, ${sigma}`);
    }
    t.equal(ours.length, sigmas.length);
  }
});

t.test('full loops equal those of diffusers', async (t) => {
  for (const loop of loops) {
    const { config, predictor: formula, steps, strength, eta, timesteps, sigmas, result, asked } = loop;
    const type = samplerFromConfig(config).name;
    const sampler = { type, ...(eta && { eta }), ...(timesteps && { timesteps }), ...(sigmas && { sigmas }) } as Sampler;
    const times: number[] = [];
    const predict = (question: PredictQuestion): Tensor<'float32'> => {
      times.push(question.timestep);
      return predictor(FORMULAS[formula])(question);
    };
    const start = strength === undefined ? { shape } : { init: ramp(2, shape), strength };
    const { latents } = await sample({ predict, sampler, schedulerConfig: config, seed, ...(steps && { steps }), ...start });
    const label = JSON.stringify({ ...loop, asked: undefined, result: undefined });
    t.ok(worst(times, asked, { rtol: 1e-5, atol: 1e-2 }) <= 1, `asked at ${label}`);
    const apart = distance(latents.data, result);
    t.ok(apart < 1e-4, `${label}: ${apart}`);
  }
});

/** The sample of diffusers' tests, [4, 3, 8, 8], and their noise, the same backwards. */
const counted = Float32Array.from({ length: 768 }, (_, i) => ((i % 192) * 4 + Math.floor(i / 192)) / 768);
const countedNoise = counted.map((value) => (767 - value * 768) / 768);

/** The integral of Lagrange's polynomial of derivative k over step i, which is at most a cubic: Simpson's rule. */
function lmsWeight({ levels, targets }: SamplingPlan, i: number, order: number, k: number): number {
  const sigma = (j: number): number => levels[i - j]?.sigma ?? NaN;
  const basis = (tau: number): number => Array.from({ length: order }, (_, j) => (j === k ? 1 : (tau - sigma(j)) / (sigma(k) - sigma(j)))).reduce((a, b) => a * b, 1);
  const [from, to] = [sigma(0), targets[i]?.sigma ?? NaN];
  return ((to - from) / 6) * (basis(from) + 4 * basis((from + to) / 2) + basis(to));
}

/**
 * diffusers' tests (not its pipelines) hand `step` the sample that was scaled for the model. This x0 predictor has the
 * same effect: the slope it implies also takes x to its scaled self, each number on its own.
 */
function keepScaled(type: SamplerName, plan: SamplingPlan, velocity: boolean): (question: PredictQuestion) => Tensor<'float32'> {
  let i = 0;
  let inner = false; // a second call in a step
  let jump = new Float64Array(0);
  const wanted: Float64Array[] = [];
  const given: Float64Array[] = [];
  return ({ x, timestep, sigma }) => {
    const scale = Math.sqrt(sigma * sigma + 1);
    const model = (y: number): number => FORMULAS.dummy(y, timestep);
    const slopes = Float64Array.from(x.data, (y) => (velocity ? (y - (y / scale ** 2 - (model(y) * sigma) / scale)) / sigma : model(y)));
    const from = plan.levels[i]?.sigma ?? NaN;
    const to = plan.targets[i]?.sigma ?? NaN;
    if (!inner) jump = Float64Array.from(x.data, (y) => y - y * scale);
    let span = to - from;
    if (type === 'euler_ancestral') span = to ** 2 / from - from; // sqrt(to² − up²) = to² / from
    if (type === 'kdpm2' && !inner && to > 0) span = Math.sqrt(from * to) - from;
    let slope = slopes.map((value, k) => value + (jump[k] ?? NaN) / span);
    if (type === 'lms') {
      const order = Math.min(i + 1, 4);
      const weights = Array.from({ length: order }, (_, k) => lmsWeight(plan, i, order, k));
      const past = (k: number, list: Float64Array[]): number => weights.slice(1).reduce((sum, weight, j) => sum + weight * (list[i - 1 - j]?.[k] ?? NaN), 0);
      slope = slopes.map((value, k) => value + ((jump[k] ?? NaN) + past(k, wanted) - past(k, given)) / (weights[0] ?? NaN));
      wanted.push(slopes);
      given.push(slope);
    }
    const twice = (type === 'heun' || type === 'kdpm2') && to > 0;
    inner = twice && !inner;
    if (!inner) i++;
    return elementwise(x, (y, k) => y * scale - sigma * (slope[k] ?? NaN));
  };
}

t.test("the sums that diffusers' own tests state", async (t) => {
  const scaled = new Set<string>(['euler', 'euler_ancestral', 'heun', 'kdpm2', 'lms']);
  for (const { test, config, steps, start, sum, mean, initSigma } of stated) {
    const type = samplerFromConfig(config).name;
    const whole = ['ddpm', 'euler_ancestral', 'lcm'].includes(type); // one generator for the whole batch
    const dims = whole ? [1, 12, 8, 8] : [4, 3, 8, 8];
    const tensor = (data: Float32Array): Tensor<'float32'> => ({ data, shape: dims, dtype: 'float32' });
    const begin = start === 0 ? { latents: tensor(counted) } : { latents: tensor(countedNoise), init: tensor(counted.map((x) => x * initSigma)), strength: (steps - start) / steps };
    const plan = planSampling({ schedulerConfig: config, steps });
    const rest = { ...plan, levels: plan.levels.slice(start), targets: plan.targets.slice(start) };
    const emulated = scaled.has(type);
    const predict = emulated ? keepScaled(type, rest, 'prediction_type' in config) : predictor(FORMULAS.dummy);
    const schedulerConfig: SchedulerConfig = emulated ? { ...config, prediction_type: 'sample' } : config;
    const { latents } = await sample({ predict, schedulerConfig, steps, seed: 0, ...begin });
    const total = latents.data.reduce((a, b) => a + Math.abs(b), 0);
    // Their own tolerance, or 1e-4 of the sum: float32 keeps four digits of 1 - alphas_cumprod at the last timesteps.
    if (sum !== null) t.ok(Math.abs(total - sum) < Math.max(1e-2, 1e-4 * sum), `${test}: sum ${total}, stated ${sum}`);
    if (mean !== null) t.ok(Math.abs(total / 768 - mean) < Math.max(1e-3, 1e-4 * mean), `${test}: mean ${total / 768}, stated ${mean}`);
  }
});

t.test('a config and a sampler come together as in from_config', async (t) => {
  const sd = parseSchedulerConfig('{"_class_name": "PNDMScheduler", "_diffusers_version": "0.6.0", "beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "lambda_min_clipped": -Infinity, "num_train_timesteps": 1000, "set_alpha_to_one": false, "skip_prk_steps": true, "steps_offset": 1, "trained_betas": null, "clip_sample": false}');
  t.equal(samplerFromConfig(sd).name, 'pndm');
  t.same(planSampling({ schedulerConfig: sd, steps: 5 }).levels.map((level) => level.timestep), [801, 601, 601, 401, 201, 1]);
  t.same(planSampling({ schedulerConfig: sd, sampler: 'euler', steps: 3 }).levels.map((level) => level.timestep), [999, 499.5, 0], 'its own spacing, where the file says nothing');
  t.equal(resolveSampler({ schedulerConfig: { _class_name: 'DDIMScheduler' } }).schedule['clipSample'], true, 'what the class takes when the file says nothing');
  t.equal(resolveSampler({ schedulerConfig: { predictionType: 'v_prediction' } }).schedule['prediction'], 'v_prediction', 'camel case');
  t.equal(resolveSampler({ schedulerConfig: { _class_name: 'EulerDiscreteScheduler', use_karras_sigmas: true } }).sampler['sigmas'], 'karras');
  t.equal(resolveSampler({ schedulerConfig: { _class_name: 'EulerDiscreteScheduler', use_karras_sigmas: true }, sampler: { type: 'euler', sigmas: 'normal' } }).sampler['sigmas'], 'normal');
  t.equal(resolveSampler({ schedulerConfig: { _class_name: 'DPMSolverMultistepScheduler', algorithm_type: 'sde-dpmsolver++' } }).name, 'dpmpp_2m_sde');
});

t.test('images of a batch are what they are alone; the same seed gives the same bytes', async (t) => {
  for (const sampler of SAMPLER_NAMES) {
    const run = async (options: Partial<SampleOptions>): Promise<Float32Array> => (await sample({ predict: smooth, sampler, steps: 6, ...options })).latents.data;
    const batch = await run({ shape: [3, 4, 5, 3], seed: 40 });
    t.same(await run({ shape: [3, 4, 5, 3], seed: 40 }), batch, `${sampler}: the same bytes`);
    for (let i = 0; i < 3; i++) t.same(await run({ shape: [1, 4, 5, 3], seed: 40 + i }), batch.subarray(i * 60, i * 60 + 60), `${sampler}: image ${i}`);
    t.notSame(await run({ shape: [3, 4, 5, 3], seed: 41 }), batch);
  }
});

t.test('strength 0 gives the image back; steps are told with the noise that is left', async (t) => {
  const init = ramp(4, SHAPE);
  for (const sampler of SAMPLER_NAMES) t.same((await sample({ predict: smooth, sampler, steps: 5, init, strength: 0 })).latents.data, init.data, sampler);
  const job = sample({ predict: smooth, sampler: 'euler', steps: 4, shape: SHAPE });
  const events: DiffusionStep[] = [];
  for await (const event of job) events.push(event);
  t.same(events.map(({ type, step, steps }) => [type, step, steps]), [1, 2, 3, 4].map((step) => ['step', step, 4]));
  t.ok(events.every(({ sigma }, i) => sigma < (events[i - 1]?.sigma ?? 15)));
  t.equal(events.at(-1)?.sigma, 0);
});

t.test('stopping while a predictor is asked', async (t) => {
  const never = (): Promise<Tensor> => new Promise(() => {});
  const controller = new AbortController();
  setTimeout(() => controller.abort(new Error('enough')), 50);
  t.equal((await thrown(() => sample({ predict: never, shape: SHAPE, signal: controller.signal }))).message, 'enough');

  const cancelled = sample({ predict: never, shape: SHAPE });
  setTimeout(() => cancelled.cancel(), 20);
  t.equal((await thrown(() => cancelled)).code, 'ERR_CANCELLED');

  let steps = 0;
  const slow = async (question: PredictQuestion): Promise<Tensor> => {
    await delay(1);
    return smooth(question);
  };
  for await (const event of sample({ predict: slow, shape: SHAPE, steps: 1000 })) if ((steps = event.step) === 3) break;
  t.equal(steps, 3);

  const late = sample({ predict: async (question) => (await delay(100), smooth(question)), shape: SHAPE });
  setTimeout(() => late.cancel(), 20);
  await thrown(() => late);
  await delay(150); // an answer that nobody waits for any more
  t.ok(await sample({ predict: smooth, shape: SHAPE, steps: 2 }));
});

t.test('a predictor may sample itself, and runs stand side by side', async (t) => {
  const nested = async (question: PredictQuestion): Promise<Tensor> => (await sample({ predict: smooth, latents: question.x, steps: 2 })).latents;
  t.ok(await sample({ predict: nested, shape: SHAPE, steps: 2 }));
  const many = await Promise.all(Array.from({ length: 8 }, (_, i) => sample({ predict: smooth, shape: SHAPE, steps: 20, seed: i % 2 })));
  for (const [i, { latents }] of many.entries()) t.same(latents.data, many[i % 2]?.latents.data);
});

t.test('exit and the end of a worker while a predictor is asked', async (t) => {
  const source = `import { sample } from 'seedbed'; const job = sample({ predict: () => new Promise(() => {}), shape: [1, 4, 8, 8] }); job.catch(() => {}); setTimeout(() =>`;
  const exit = await runScript(`${source} process.exit(7), 200);`, { timeout: 20_000 });
  t.equal(exit.code, 7, exit.stderr);
  t.equal(exit.stderr, '');

  const asked = `import { parentPort } from 'node:worker_threads'; import { sample } from '${import.meta.resolve('seedbed')}';
await sample({ predict: () => { parentPort.postMessage('asked'); return new Promise(() => {}); }, shape: [1, 4, 8, 8] });`;
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(asked)}`));
  await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
  const begin = performance.now();
  await worker.terminate();
  t.ok(performance.now() - begin < 5_000);
  t.ok(await sample({ predict: smooth, shape: SHAPE, steps: 2 }), 'the main thread goes on');

  // Terminated inside the predictor, which is called from native code. In a process of its own: it used to abort.
  const busy = `import { parentPort } from 'node:worker_threads'; import { sample } from '${import.meta.resolve('seedbed')}';
const predict = ({ x }) => { parentPort.postMessage('asked'); const begin = performance.now(); while (performance.now() - begin < 3); return x; };
await Promise.all([1, 2].map(() => sample({ predict, shape: [1, 4, 8, 8], steps: 10000, sampler: 'euler' })));`;
  const ended = await runScript(`import { Worker } from 'node:worker_threads';
for (let i = 0; i < 6; i++) {
  const worker = new Worker(new URL('data:text/javascript,' + ${JSON.stringify(encodeURIComponent(busy))}));
  await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
  await new Promise((resolve) => setTimeout(resolve, i));
  await worker.terminate();
}`);
  t.equal(ended.code, 0, ended.stderr.slice(0, 300));
});
