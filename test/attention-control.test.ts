import t, { type Test } from 'tap';
import { loadDiffusion, type AttentionOptions, type AttentionRecord, type Tensor } from 'seedbed';
import { filled, storedModel, worstStored, writeFormulaPipeline, type Stored } from './formula.js';
import { golden, thrown, worst } from './support.js';

interface Run {
  title: string;
  contrast: [string, number] | null;
  swap: [string, number, number] | null;
  recorded: Record<string, Stored>;
  output: Stored;
}

const { latents: shape, context: contextShape, timestep, runs } = golden('diffusion/attention') as { latents: number[]; context: number[]; timestep: number; runs: Run[] };
const CLOSE = { rtol: 1e-4, atol: 1e-4 };
const NEAR_PROBABILITIES = { rtol: 1e-4, atol: 1e-6 };

const folder = writeFormulaPipeline(t.testdir(), 'sd1');
const sd = await loadDiffusion(folder, { dtype: 'float32', threads: 1 });
t.teardown(() => sd.dispose());
const latents = filled('input.latents', shape);
const context = filled('input.context', contextShape);
const predict = (attention?: AttentionOptions, more: { latents?: Tensor; context?: Tensor } = {}) => sd.predictNoise({ latents, context, timestep, ...more, ...(attention && { attention }) });
const recorded = async (attention: AttentionOptions): Promise<AttentionRecord[]> => (await predict(attention)).attention ?? [];
const sums = ({ probabilities: { data, shape } }: AttentionRecord): number[] => {
  const keys = shape.at(-1) as number;
  return Array.from({ length: data.length / keys }, (_, i) => data.subarray(i * keys, (i + 1) * keys).reduce((a, b) => a + b, 0));
};
const both = (row: Float32Array): Float32Array => Float32Array.from([...row, ...row]);

t.test('wrong options', async (t) => {
  const cases: [unknown, RegExp][] = [
    [{ recrod: [] }, /Unknown option 'attention\.recrod' for predictNoise; did you mean 'record'/],
    [{ record: [] }, /Expected a list with a length of at least 1 for attention\.record/],
    [{ record: ['up_block.1'] }, /beginning of an attention layer's name for attention\.record\.layers, say 'down_blocks\.0\.attentions\.0\.transformer_blocks\.0\.attn1', .* received 'up_block\.1'/],
    [{ record: ['up_blocks.10'] }, /received 'up_blocks\.10'/],
    [{ record: ['up_blocks.1.attn1'] }, /received 'up_blocks\.1\.attn1'/],
    [{ contrast: { strength: -1 } }, /Expected .* for attention\.contrast\.strength, received -1/],
    [{ contrast: {} }, /contrast\.strength/],
    [{ contrast: { strength: 1, pictures: [2] } }, /attention\.contrast\.pictures/],
    [{ contrast: { strength: 1, timesteps: [500, 400] } }, /timesteps from low to high for attention\.contrast\.layers, received 500 to 400/],
    [{ swap: { from: 0, to: 2 } }, /attention\.swap\.to/],
    [{ swap: { from: 0, to: 1, layers: ['*.attn2'] } }, /attention\.swap\.layers/],
  ];
  for (const [attention, message] of cases) t.match(await thrown(() => predict(attention as AttentionOptions)), { code: 'ERR_INVALID_ARGUMENT', message }, JSON.stringify(attention));
  const split = { prompt: ['a', 'b'], steps: 1, batchSize: 1, attention: { swap: { from: 1, to: 0 } } };
  t.match(await thrown(() => sd.generate(split)), { code: 'ERR_INVALID_ARGUMENT', message: /pictures 1 and 0 of attention\.swap in one batch; set batchSize to 2/ });
});

t.test('equal to diffusers with the same changes in its layers', async (t) => {
  for (const { title, contrast, swap, recorded, output } of runs) {
    await t.test(title, async (t) => {
      const layers = Object.keys(recorded);
      const attention: AttentionOptions = {
        ...(layers.length > 0 && { record: { layers, heads: 'all' as const } }),
        ...(contrast && { contrast: { layers: [contrast[0]], strength: contrast[1] } }),
        ...(swap && { swap: { layers: [swap[0]], from: swap[1], to: swap[2] } }),
      };
      const noise = await predict(attention);
      t.ok(worstStored(noise, output, CLOSE) <= 1, `output (${worstStored(noise, output, CLOSE).toFixed(3)})`);
      t.same(noise.attention?.map(({ layer }) => layer), layers.length > 0 ? layers : undefined);
      for (const { layer, height, width, timesteps, probabilities } of noise.attention ?? []) {
        t.same([height, width, timesteps], [8, 8, [timestep]], layer);
        const ratio = worstStored(probabilities, recorded[layer] as Stored, NEAR_PROBABILITIES);
        t.ok(ratio <= 1, `probabilities of ${layer} (${ratio.toFixed(3)})`);
      }
    });
  }
  t.not(worstStored(await predict(), (runs[1] as Run).output, CLOSE) <= 1, true, 'a contrast can be told from none');
});

t.test('which layers', async (t) => {
  const names = storedModel('unet', 'sd1').parameters.flatMap(([name]) => (name.endsWith('.to_q.weight') ? [name.slice(0, -'.to_q.weight'.length)] : []));
  t.same([...sd.info.attentionLayers].sort(), names.sort());
  const count = async (...layers: string[]): Promise<number> => (await recorded({ record: layers })).length;
  const wanted = (pattern: RegExp): number => names.filter((name) => pattern.test(name)).length;
  t.equal(await count('*.attn2'), wanted(/attn2$/));
  t.equal(await count('up_blocks.1'), wanted(/^up_blocks\.1\./));
  t.equal(await count('up_blocks.1.*.attn1', 'mid_block'), wanted(/^up_blocks\.1\..*attn1$|^mid_block/));
});

t.test('recorded rows are probabilities, and recording changes nothing', async (t) => {
  const noise = await predict({ record: ['up_blocks', 'mid_block'] });
  t.ok(worst(noise.data, (await predict()).data, { atol: 1e-5 }) <= 1);
  for (const record of noise.attention ?? []) {
    t.same(record.probabilities.shape.slice(0, 2), [2, record.height * record.width], record.layer);
    t.ok(sums(record).every((sum) => Math.abs(sum - 1) < 1e-5), `${record.layer}: rows sum to 1`);
    t.ok(record.probabilities.data.every((p) => p >= 0));
  }
  const [mean] = await recorded({ record: ['mid_block.*.attn1'] });
  const [all] = await recorded({ record: { layers: ['mid_block.*.attn1'], heads: 'all' } });
  const [B = 0, heads = 0, queries = 0, keys = 0] = all?.probabilities.shape ?? [];
  t.equal(heads, 8);
  const ofHeads = new Float32Array(B * queries * keys);
  const matrix = queries * keys;
  ofHeads.forEach((_, i) => {
    const first = Math.floor(i / matrix) * heads * matrix + (i % matrix);
    for (let head = 0; head < heads; head++) ofHeads[i] = (ofHeads[i] ?? 0) + (all?.probabilities.data[first + head * matrix] ?? NaN) / heads;
  });
  t.ok(worst(mean?.probabilities.data ?? [], ofHeads) <= 1, 'the mean of the heads');
});

t.test('changes that change nothing', async (t) => {
  const plain = await predict();
  const same = { atol: 1e-5, rtol: 1e-5 };
  t.ok(worst((await predict({ contrast: { layers: ['*'], strength: 1 } })).data, plain.data, same) <= 1, 'contrast 1');
  // Layers that no control asks for their probabilities stay with the fused kernel: the same bytes.
  t.same((await predict({ swap: { from: 1, to: 1 } })).data, plain.data, 'a swap with itself');
  t.same((await predict({ contrast: { strength: 3, timesteps: [0, timestep - 1] } })).data, plain.data, 'other timesteps');
  t.same((await predict({ swap: { from: 1, to: 0, timesteps: [timestep + 1, 999] } })).data, plain.data, 'other timesteps');
  const row = latents.data.subarray(0, latents.data.length / 2);
  const equal = { latents: { ...latents, data: both(row) }, context: { ...context, data: both(context.data.subarray(0, context.data.length / 2)) } };
  t.ok(worst((await predict({ swap: { from: 1, to: 0 } }, equal)).data, (await predict(undefined, equal)).data, same) <= 1, 'equal pictures');
});

t.test('changes reach the pictures they name', async (t) => {
  const halves = ({ data }: Tensor<'float32'>): [Float32Array, Float32Array] => [data.subarray(0, data.length / 2), data.subarray(data.length / 2)];
  const [first, second] = halves(await predict());
  for (const [title, attention, changed] of [
    ['contrast of 1', { contrast: { strength: 2, pictures: [1] } }, 1],
    ['contrast of 0', { contrast: { strength: 2, pictures: [0], timesteps: [timestep, timestep] } }, 0],
    ['swap into 0', { swap: { from: 1, to: 0 } }, 0],
    ['swap into 1', { swap: [{ from: 0, to: 1 }] }, 1],
  ] as const) {
    const now = halves(await predict(attention as AttentionOptions));
    const moved = [worst(now[0], first, CLOSE), worst(now[1], second, CLOSE)];
    t.ok((moved[changed] as number) > 10 && (moved[1 - changed] as number) <= 1, `${title} (${moved.map((x) => x.toFixed(2)).join(', ')})`);
  }
  const [record] = await recorded({ contrast: { strength: 0 }, record: ['mid_block.*.attn1'] });
  const keys = record?.probabilities.shape.at(-1) as number;
  t.ok(worst(record?.probabilities.data ?? [], new Float32Array(record?.probabilities.data.length ?? 0).fill(1 / keys)) <= 1, 'without contrast all keys are alike');
});

t.test('while pictures are generated', async (t) => {
  const options = { prompt: ['a red cat', 'a dog', 'a house'], steps: 3, sampler: 'ddim' as const, width: 32, height: 32, decode: false };
  const layers = ['up_blocks.2.attentions.0.*.attn2'];
  const plain = await sd.generate({ ...options, batchSize: 3 });
  t.equal(plain.attention, undefined);
  const mean = await sd.generate({ ...options, batchSize: 2, attention: { record: layers } });
  t.ok(worst(mean.latents.data, plain.latents.data, CLOSE) <= 1, 'nothing changes');
  t.equal(mean.attention?.length, 1);
  const record = mean.attention?.[0] as AttentionRecord;
  t.same(record.probabilities.shape, [3, 64, 77], 'one row per picture, of the half with the prompt');
  t.ok(sums(record).every((sum) => Math.abs(sum - 1) < 1e-5));
  const each = (await sd.generate({ ...options, batchSize: 3, attention: { record: { layers, steps: 'each' } } })).attention ?? [];
  t.same(each.map(({ timesteps }) => timesteps), record.timesteps.map((timestep) => [timestep]));
  const average = record.probabilities.data.map((_, i) => each.reduce((sum, { probabilities }) => sum + (probabilities.data[i] as number), 0) / each.length);
  t.ok(worst(average, record.probabilities.data, { atol: 1e-6, rtol: 1e-3 }) <= 1, 'the mean of the steps');
  await checkSwap(t);
});

/** Two equal pictures and one other: a swap between the equal ones changes nothing, one with the other does. */
async function checkSwap(t: Test): Promise<void> {
  const noise = filled('input.latents', [1, 4, 8, 8]).data;
  const other = noise.map((value) => -value);
  const options = { prompt: 'a cat', count: 3, steps: 2, sampler: 'ddim' as const, width: 32, height: 32, decode: false, latents: { data: Float32Array.from([...noise, ...noise, ...other]), shape: [3, 4, 8, 8], dtype: 'float32' as const } };
  const plain = (await sd.generate(options)).latents.data;
  const swapped = async (from: number, to: number): Promise<Float32Array> => (await sd.generate({ ...options, attention: { swap: { from, to } } })).latents.data;
  t.ok(worst(await swapped(1, 0), plain, CLOSE) <= 1);
  const changed = await swapped(2, 0);
  const one = noise.length;
  t.ok(worst(changed.subarray(0, one), plain.subarray(0, one), CLOSE) > 10);
  t.ok(worst(changed.subarray(one), plain.subarray(one), CLOSE) <= 1);
}
