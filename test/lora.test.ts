import { join } from 'node:path';
import t from 'tap';
import { native } from '#lib/native.js';
import { partsOf } from '#lib/diffusion/parts.js';
import { loadDiffusion, type Diffusion, type LoraFactors, type LoraWeights, type Tensor } from 'seedbed';
import { fill, filled, integers, worstStored, writeFormulaPipeline, type Stored } from './formula.js';
import { golden, refused, worst } from './support.js';

const CLOSE = { rtol: 1e-4, atol: 1e-4 };

interface Applied {
  model: 'sd1' | 'sd2';
  rank: number;
  alpha: number;
  ids: number[][];
  unet: Record<string, number[]>;
  text: Record<string, number[]>;
  scales: { scale: number; unet: Stored; text: Stored }[];
}

interface Trained {
  model: 'sd1' | 'sd2';
  prediction: string;
  minSnrGamma: number;
  rank: number;
  alpha: number;
  lr: number;
  warmup: number;
  steps: number;
  ids: number[];
  size: number[];
  schedule: { beta_start: number; beta_end: number; beta_schedule: string };
  losses: number[];
  count: number;
  factors: Record<string, Stored>;
}

const { applied, trained } = golden('diffusion/lora') as { applied: Applied[]; trained: Trained[] };

const root = t.testdir();
const folders = { sd1: writeFormulaPipeline(join(root, 'sd1'), 'sd1'), sd2: writeFormulaPipeline(join(root, 'sd2'), 'sd2') };
const load = (model: 'sd1' | 'sd2'): PromiseLike<Diffusion> => loadDiffusion(folders[model], { dtype: 'float32', device: 'cpu', threads: 1 });

/** Factors of scripts/golden/diffusers_cases/lora_cases.py from their shapes, which are by layer and role. */
function factorsOf(shapes: Record<string, number[]>, { rank, alpha }: { rank: number; alpha: number }, zeroUp = false): Record<string, LoraFactors> {
  const layers: Record<string, LoraFactors> = {};
  for (const [name, shape] of Object.entries(shapes)) {
    if (!name.endsWith('.down')) continue;
    const layer = name.slice(0, -'.down'.length);
    const tensor = (key: string, size: number[], zero = false): Tensor<'float32'> => ({ data: fill(`${key}.weight`, size).map((value) => (zero ? 0 : Math.fround(0.3 * value))), shape: size, dtype: 'float32' });
    const up = shapes[`${layer}.up`] as number[];
    const filledUp = tensor(`${layer}.up`, up, zeroUp);
    layers[layer] = { down: tensor(name, shape), up: { ...filledUp, shape: up.slice(0, 2) }, alpha, scale: alpha / rank };
  }
  return layers;
}

const weightsOf = (run: Applied): LoraWeights => ({ unet: factorsOf(run.unet, run), textEncoder: factorsOf(run.text, run), embeddings: {} });
const call = { latents: filled('input.latents', [2, 4, 8, 8]), context: filled('input.context', [2, 77, 32]), timestep: 481 };
const idsOf = (rows: number[][]): Tensor<'int64'> => ({ data: BigInt64Array.from(rows.flat(), BigInt), shape: [rows.length, rows[0]?.length ?? 0], dtype: 'int64' });

t.test('what does not fit is refused', async (t) => {
  using sd = await load('sd1');
  const run = applied[0] as Applied;
  const weights = weightsOf(run);
  const [name, one] = Object.entries(weights.unet)[0] as [string, LoraFactors];
  const only = (factors: Record<string, LoraFactors>): LoraWeights => ({ unet: factors, textEncoder: {}, embeddings: {} });
  sd.loras.add(only({ [name]: one }), { name: 'there' });
  const wrong = (change: Partial<LoraFactors>) => () => sd.loras.add(only({ [name]: { ...one, ...change } }), { name: 'wrong' });
  await refused(t, [
    ['no name', () => sd.loras.add(weights), 'ERR_INVALID_ARGUMENT', /name/],
    ['a name that is taken', () => sd.loras.add(weights, { name: 'there' }), 'ERR_INVALID_ARGUMENT', /'there'/],
    ['a layer that is not there', () => sd.loras.add(only({ nowhere: one }), { name: 'x' }), 'ERR_WEIGHTS', /nowhere/],
    ['nothing', () => sd.loras.add(only({}), { name: 'x' }), 'ERR_INVALID_ARGUMENT', /at least one layer/],
    ['another width', wrong({ down: { ...one.down, shape: [...one.down.shape].reverse() } }), 'ERR_WEIGHTS', /\[r, /],
    ['rank 0', wrong({ down: { data: new Float32Array(0), shape: [0, one.down.shape[1] ?? 0], dtype: 'float32' }, up: { data: new Float32Array(0), shape: [one.up.shape[0] ?? 0, 0], dtype: 'float32' } }), 'ERR_WEIGHTS', /\[r, /],
    ['NaN', wrong({ up: { ...one.up, data: (one.up.data as Float32Array).map((value, i) => (i === 3 ? NaN : value)) } }), 'ERR_NOT_FINITE', /to_/],
    ['an unknown name', () => sd.loras.setScale('nobody', 1), 'ERR_INVALID_ARGUMENT', /nobody/],
    ['an unknown name in a call', () => sd.predictNoise({ ...call, loras: { nobody: 1 } }), 'ERR_INVALID_ARGUMENT', /nobody/],
    ['a file that is not there', () => sd.loras.add(join(root, 'none.safetensors')), 'ERR_FILE_NOT_FOUND', /none/],
  ]);
  t.same(sd.loras.list().map((lora) => lora.name), ['there']);
});

t.test('adapted nets equal PEFT’s, by low rank and merged', async (t) => {
  for (const [i, run] of applied.entries()) {
    using sd = await load(run.model);
    const info = sd.loras.add(weightsOf(run), { name: 'golden' });
    t.equal(info.unetLayers, Object.keys(run.unet).length / 2);
    for (const merged of [false, true]) {
      if (merged) sd.loras.merge('golden');
      for (const { scale, unet, text } of run.scales) {
        const noise = await sd.predictNoise({ ...call, loras: { golden: scale } });
        t.ok(worstStored(noise, unet, CLOSE) <= 1, `${i}: unet, scale ${scale}, ${merged ? 'merged' : 'low rank'} (${worstStored(noise, unet, CLOSE).toFixed(3)})`);
        sd.loras.setScale('golden', scale);
        const { states } = await sd.components.textEncoder.encode(idsOf(run.ids));
        t.ok(worstStored(states, text, CLOSE) <= 1, `${i}: text encoder, scale ${scale} (${worstStored(states, text, CLOSE).toFixed(3)})`);
      }
    }
  }
});

t.test('two adapters add up; without them, and after un-merging, every bit is as it was', async (t) => {
  using sd = await load('sd1');
  const before = await sd.predictNoise(call);
  const weights = sd.components.unet.weights();
  const [first, , third] = applied as [Applied, Applied, Applied];
  const alone = async (name: string): Promise<Float32Array> => (await sd.predictNoise({ ...call, loras: Object.fromEntries(sd.loras.list().map((lora) => [lora.name, lora.name === name ? 1 : 0])) })).data;
  sd.loras.add({ ...weightsOf(first), textEncoder: {} }, { name: 'a' });
  sd.loras.add({ ...weightsOf(third), textEncoder: {} }, { name: 'b', scale: 0.5 });
  const both = (await sd.predictNoise(call)).data;
  t.ok(worst(both, await alone('a'), CLOSE) > 10);
  t.same((await sd.predictNoise({ ...call, loras: { a: 0, b: 0 } })).data, before.data, 'scales of 0 leave both out');
  sd.loras.merge('a');
  t.ok(worst((await sd.predictNoise(call)).data, both, CLOSE) <= 1, 'one merged');
  sd.loras.merge('b');
  t.ok(worst((await sd.predictNoise(call)).data, both, CLOSE) <= 1, 'both merged');
  const name = 'down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight';
  t.notSame(sd.components.unet.weights()[name]?.data, weights[name]?.data, 'merged weights are shown');
  sd.loras.unmerge('a');
  sd.loras.unmerge('b');
  t.same(sd.components.unet.weights(), weights);
  sd.loras.remove('a');
  sd.loras.remove('b');
  t.same((await sd.predictNoise(call)).data, before.data);
});

t.test('merging five adapters in any order and un-merging them leaves every byte', async (t) => {
  using sd = await load('sd1');
  const before = (await sd.predictNoise(call)).data;
  const weights = sd.components.unet.weights();
  const names = ['a', 'b', 'c', 'd', 'e'];
  for (const [i, name] of names.entries()) sd.loras.add(weightsOf(applied[i % 2 === 0 ? 0 : 2] as Applied), { name, scale: 0.2 * (i - 2.5) });
  for (const name of [3, 0, 4, 1, 2].map((i) => names[i] as string)) {
    sd.loras.merge(name);
    await sd.predictNoise(call);
  }
  for (const name of [1, 4, 2, 0, 3].map((i) => names[i] as string)) {
    sd.loras.unmerge(name);
    sd.loras.remove(name);
    await sd.predictNoise(call);
  }
  t.same(sd.components.unet.weights(), weights);
  t.same((await sd.predictNoise(call)).data, before);
});

t.test('adapters that come and go while calls run never mix', async (t) => {
  using sd = await load('sd1');
  const run = applied[0] as Applied;
  const expected: Float32Array[] = [];
  for (const scale of [0, 0.5, 1, -1]) {
    sd.loras.add(weightsOf(run), { name: 'probe', scale });
    expected.push((await sd.predictNoise(call)).data);
    sd.loras.remove('probe');
  }
  const calls = [0, 0.5, 1, -1, 0, 1, 0.5, -1].map((scale, i) => {
    sd.loras.add(weightsOf(run), { name: `l${i}`, scale });
    const result = sd.predictNoise(call);
    sd.loras.remove(`l${i}`);
    return result;
  });
  const results = await Promise.all(calls);
  for (const [i, { data }] of results.entries()) t.same(data, expected[[0, 1, 2, 3, 0, 2, 1, 3][i] as number], `call ${i}`);
  t.same(sd.loras.list(), []);
});

t.test('training equals diffusers’ with PEFT', async (t) => {
  for (const run of trained) {
    using sd = await load(run.model);
    const { handle } = partsOf(sd);
    const { unet, textEncoder } = native().loraLayers(handle);
    const shapes = (layers: { name: string; shape: number[] }[], ends: string[]): Record<string, number[]> =>
      Object.fromEntries(layers.filter(({ name }) => ends.some((end) => name.endsWith(`.${end}`))).flatMap(({ name, shape }) => [[`${name}.down`, [run.rank, shape[1] ?? 0]], [`${name}.up`, [shape[0] ?? 0, run.rank]]]));
    const factors = { unet: factorsOf(shapes(unet, ['to_q', 'to_k', 'to_v', 'to_out.0']), run, true), textEncoder: factorsOf(shapes(textEncoder, ['q_proj', 'k_proj', 'v_proj', 'out_proj']), run, true) };
    t.equal(2 * (Object.keys(factors.unet).length + Object.keys(factors.textEncoder).length), run.count, 'as many factors as PEFT');
    const [steps = 0, batch = 0] = run.size;
    const fixed = { latents: filled('input.train.latents', run.size), noise: filled('input.train.noise', run.size), timesteps: { data: BigInt64Array.from(integers('input.train.timesteps', [steps, batch], 1000), BigInt), shape: [steps, batch], dtype: 'int64' } };
    const image = { data: new Uint8Array(3 * 64 * 64), width: 64, height: 64, channels: 3 };
    for (const recompute of [false, true]) {
      const options = {
        ...factors, fixed, recompute, images: [image], ids: idsOf([run.ids]), steps, batchSize: batch, size: 64, lr: run.lr, warmupLr: 0, minLr: 0, warmupSteps: run.warmup, minSnrGamma: run.minSnrGamma,
        optimizer: { weightDecay: 0.01 }, schedule: { betaStart: run.schedule.beta_start, betaEnd: run.schedule.beta_end, betaSchedule: run.schedule.beta_schedule, prediction: run.prediction }, threads: 1,
      };
      const result = await new Promise<{ losses: number[]; unet: Record<string, { down: Tensor; up: Tensor }>; textEncoder: Record<string, { down: Tensor; up: Tensor }> }>((resolve, reject) =>
        native().trainLora(handle, options, (kind, value) => (kind === 'done' ? resolve(value as never) : kind === 'error' ? reject(new Error((value as { message: string }).message)) : undefined)),
      );
      const title = `${run.model}, ${run.prediction}, min-SNR ${run.minSnrGamma}, ${recompute ? 'recomputed' : 'kept'}`;
      t.ok(worst(result.losses, run.losses, { rtol: 1e-4 }) <= 1, `${title}: losses ${result.losses.map((loss) => loss.toFixed(5)).join(' ')} (${worst(result.losses, run.losses, { rtol: 1e-4 }).toFixed(3)})`);
      let ratio = 0;
      for (const [name, expected] of Object.entries(run.factors)) {
        const [, part, layer, role] = /^(unet|text_encoder)\.(.*)\.(down|up)$/.exec(name) as unknown as [string, string, string, 'down' | 'up'];
        ratio = Math.max(ratio, worstStored((part === 'unet' ? result.unet : result.textEncoder)[layer]?.[role] as Tensor<'float32'>, expected, CLOSE));
      }
      t.ok(ratio <= 1, `${title}: factors (${ratio.toFixed(3)})`);
    }
  }
});
