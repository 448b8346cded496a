import { existsSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { frechetDistance, gradientFeatures, kernelDistance, loadJudge, metrics, nearest, precisionRecall, retrieval, writeSafetensors, type Features, type Image, type Tensor } from 'seedbed';
import { filled, worstStored, type Stored } from './formula.js';
import { dataFile, golden, picture, refused, thrown, worst } from './support.js';

interface Golden {
  a: number[][];
  b: number[][];
  wanted: number[];
  frechet: number;
  frechetFew: number;
  kernel: number;
  kernelError: number;
  manifold: Record<string, { precision: number; recall: number }>;
  neighbours: Record<'euclidean' | 'cosine', { places: number[][]; distances: number[][]; ranks: number[] }>;
}

interface JudgeOutputs {
  features: Stored;
  logits: Stored;
}

interface JudgeGolden {
  shapes: Record<string, number[]>;
  pictures: [number, number, number][];
  formula: JudgeOutputs;
  real: JudgeOutputs & { file: string };
}

const reference = golden('metrics') as Golden;
const features = (rows: readonly (readonly number[])[]): Tensor<'float32'> => ({ data: Float32Array.from(rows.flat()), shape: [rows.length, rows[0]?.length ?? 0], dtype: 'float32' });
const a = features(reference.a);
const b = features(reference.b);
const wide: Features = { data: new Float64Array(80), shape: [10, 8], dtype: 'float64' };

t.test('bad input is refused', async (t) => {
  const broken: Features = { ...a, data: a.data.map((value, i) => (i === 7 ? NaN : value)) };
  await refused(t, [
    ['an unknown option', () => frechetDistance(a, b, { thread: 1 } as never), 'ERR_INVALID_ARGUMENT', /did you mean 'threads'/],
    ['no features', () => frechetDistance(a, [1, 2] as never), 'ERR_INVALID_ARGUMENT', /features .* for b, received a list of 2/],
    ['other columns', () => frechetDistance(a, wide), 'ERR_SHAPE', /b must have shape \[\*, 6\], got \[10, 8\]/],
    ['no number', () => kernelDistance(broken, b), 'ERR_NOT_FINITE', /a/],
    ['whole numbers', () => frechetDistance({ data: new Int32Array(4), shape: [2, 2], dtype: 'int32' } as never, b), 'ERR_DTYPE', /floating point numbers in a/],
    ['one row', () => frechetDistance(features([[1, 2, 3, 4, 5, 6]]), b), 'ERR_INVALID_ARGUMENT', /at least 2 rows in a, received 1/],
    ['two rows', () => kernelDistance(a, features(reference.b.slice(0, 2))), 'ERR_INVALID_ARGUMENT', /at least 3 rows in b, received 2/],
    ['too many neighbours', () => precisionRecall(a, b, { k: 30 }), 'ERR_INVALID_ARGUMENT', /at least 31 rows in made, received 30/],
    ['more neighbours than rows', () => nearest(a, b, { k: 31 }), 'ERR_INVALID_ARGUMENT', /k/],
    ['an unknown metric', () => nearest(a, b, { metric: 'angle' as never }), 'ERR_INVALID_ARGUMENT', /'euclidean', 'cosine' for metric/],
    ['too few answers', () => retrieval(a, b, [1, 2]), 'ERR_INVALID_ARGUMENT', /each of 40 queries, received a list of 2/],
    ['half an answer', () => retrieval(a, b, reference.wanted.map(() => 0.5)), 'ERR_INVALID_ARGUMENT', /integers for wanted, received 0\.5/],
    ['an answer outside', () => retrieval(a, b, reference.wanted.map(() => 30)), 'ERR_INVALID_ARGUMENT', /0 to 29/],
    ['no values for a quantile', () => metrics.quantile([], 0.5), 'ERR_INVALID_ARGUMENT', /at least one value/],
    ['no values', () => metrics.bootstrap([]), 'ERR_INVALID_ARGUMENT', /at least one value/],
  ]);
});

t.test('distances between sets equal those of numpy and scipy', async (t) => {
  const close = (actual: number, expected: number, tolerance = 1e-9): boolean => Math.abs(actual - expected) <= tolerance * Math.max(1, Math.abs(expected));
  t.ok(close(await frechetDistance(a, b), reference.frechet), 'Frechet');
  t.ok(close(await frechetDistance(features(reference.a.slice(0, 4)), features(reference.b.slice(0, 4))), reference.frechetFew, 1e-6), 'with covariances that have no full rank, where the reference is less exact');
  t.ok(close(await frechetDistance(a, a), 0, 1e-6), 'of a set to itself');
  const kernel = await kernelDistance(a, b);
  t.ok(close(kernel.distance, reference.kernel), 'kernel');
  t.ok(close(kernel.standardError, reference.kernelError), 'and its standard error');
  for (const [k, expected] of Object.entries(reference.manifold)) t.same(await precisionRecall(a, b, { k: Number(k) }), expected, `precision and recall with k = ${k}`);
});

t.test('sets larger than a block give what small sets give', async (t) => {
  const rows = (salt: number, count: number): Features => ({ data: Float64Array.from({ length: count * 3 }, (_, i) => Math.sin(i * 12.9898 + salt) * 3), shape: [count, 3], dtype: 'float64' });
  const [many, few] = [rows(1, 1500), rows(2, 40)];
  const part: Features = { data: many.data.slice(1400 * 3) as Float64Array<ArrayBuffer>, shape: [100, 3], dtype: 'float64' };
  const whole = await nearest(many, few, { k: 2 });
  const last = await nearest(part, few, { k: 2 });
  t.same([...whole.places.data.slice(2800)], [...last.places.data]);
  const { precision, recall } = await precisionRecall(many, many, { k: 3 });
  t.same([precision, recall], [1, 1], 'a set lies in its own region');
});

t.test('neighbours and places equal those of numpy', async (t) => {
  for (const metric of ['euclidean', 'cosine'] as const) {
    const expected = reference.neighbours[metric];
    const { places, distances } = await nearest(a, b, { k: 3, metric });
    t.same([...places.data].map(Number), expected.places.flat(), `${metric}: places`);
    t.ok(worst(distances.data, expected.distances.flat(), { rtol: 1e-9, atol: 1e-7 }) <= 1, `${metric}: distances`);
    const found = await retrieval(a, b, reference.wanted, { metric });
    t.same(found.ranks, expected.ranks, `${metric}: ranks`);
    const share = (most: number): number => expected.ranks.filter((rank) => rank <= most).length / expected.ranks.length;
    t.same([found.top1, found.top5], [share(1), share(5)]);
    t.ok(found.top5Interval.low < found.top5 && found.top5 < found.top5Interval.high);
  }
  t.same((await retrieval(a, a, reference.a.map((_, i) => i))).top1, 1, 'each row finds itself');
  const twice = features([reference.a[0] ?? [], reference.a[0] ?? []]);
  t.same((await retrieval(twice, twice, [0, 1])).ranks, [2, 2], 'a row that is there twice is not told apart');
});

t.test('quantiles lie between neighbours in proportion, as in NumPy', (t) => {
  t.same([0, 0.25, 0.5, 1].map((at) => metrics.quantile([8, 1, 4, 2], at)), [1, 1.75, 3, 8]);
  t.end();
});

t.test('the bootstrap interval holds the mean and shrinks with more values', (t) => {
  const values = Array.from({ length: 400 }, (_, i) => (i % 4 === 0 ? 1 : 0));
  const { mean, low, high } = metrics.bootstrap(values);
  t.equal(mean, 0.25);
  const expected = metrics.wilson(100, 400);
  t.ok(Math.abs(low - expected.low) < 0.01 && Math.abs(high - expected.high) < 0.01, `${low} to ${high}, Wilson ${expected.low} to ${expected.high}`);
  t.same(metrics.bootstrap(values), { mean, low, high }, 'the same seed, the same interval');
  t.end();
});

const judged = golden('judge') as JudgeGolden;
const pictures = judged.pictures.map(([width, height, salt]) => picture(width, height, 3, salt));

t.test('the judge equals a plain PyTorch forward', async (t) => {
  const path = join(t.testdir(), 'judge.safetensors');
  const weights = Object.fromEntries(Object.entries(judged.shapes).map(([name, shape]) => [name, filled(name, shape)]));
  const first = weights['features.0.weight'];
  first?.data.forEach((value, i) => (first.data[i] = value * 0.01)); // pixels are in bytes here
  writeSafetensors(path, weights);
  using judge = loadJudge(path);
  const { features, logits } = await judge.judge(pictures, { threads: 1 });
  t.ok(worstStored(features, judged.formula.features, { rtol: 1e-4, atol: 1e-5 }) <= 1, 'features');
  t.ok(worstStored(logits, judged.formula.logits, { rtol: 1e-4, atol: 1e-5 }) <= 1, 'logits');
  t.same(await judge.features(pictures, { threads: 2 }), features, 'any number of threads');
  const shuffled = await judge.features([...pictures].reverse(), { threads: 1 });
  t.same(shuffled.data.slice(0, 512), features.data.slice(1024), 'in the order of the pictures');
  const small = await thrown(() => judge.features([picture(8, 8, 3), picture(9, 8, 3)]));
  t.match(small.message, /pictures of one size/);
  judge.dispose();
  t.equal((await thrown(() => judge.features(pictures))).code, 'ERR_DISPOSED');
  writeSafetensors(path, { ...weights, 'features.0.bias': filled('features.0.bias', [95]) });
  await refused(t, [
    ['another shape', () => loadJudge(path), 'ERR_WEIGHTS', /features\.0\.bias \[95\] for \[96\]/],
    ['no file', () => loadJudge('nowhere.safetensors'), 'ERR_FILE_NOT_FOUND', /nowhere/],
    ['no name', () => loadJudge(3 as never), 'ERR_INVALID_ARGUMENT', /path of a safetensors file/],
  ]);
});

const real = dataFile(judged.real.file);
t.test('with its real weights it equals PyTorch too', { skip: !existsSync(real) && `needs ${judged.real.file}` }, async (t) => {
  using judge = loadJudge(real);
  const { features, logits } = await judge.judge(pictures, { threads: 2 });
  // 227 x 227 sums of bytes up to 255: the rounding of another order of summation is larger than in the formula's net.
  t.ok(worstStored(features, judged.real.features, { rtol: 1e-3, atol: 1e-3 }) <= 1, 'features');
  t.ok(worstStored(logits, judged.real.logits, { rtol: 1e-3, atol: 1e-3 }) <= 1, 'logits');
});

t.test('gradients and colours in cells', (t) => {
  const halves: Image = { data: Uint8Array.from({ length: 64 * 64 * 3 }, (_, i) => (Math.floor(i / 3) % 64 < 30 ? 0 : 255)), width: 64, height: 64, channels: 3 };
  const { data, shape } = gradientFeatures([halves]);
  t.same(shape, [1, 704]);
  const cell = (x: number, y: number): Float32Array => data.subarray((y * 8 + x) * 11, (y * 8 + x + 1) * 11);
  t.same([...cell(0, 4)], Array.from({ length: 11 }, () => 0), 'black, without an edge');
  t.same([...cell(7, 4)], [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1], 'white, without an edge');
  // The edge between columns 29 and 30 lies in the fourth cell: two columns of eight feel it, in the direction of x.
  t.same([...cell(3, 4)], [0.25, 0, 0, 0, 0, 0, 0, 0, 0.25, 0.25, 0.25]);
  const turned: Image = { ...halves, data: Uint8Array.from({ length: 64 * 64 * 3 }, (_, i) => (Math.floor(i / 192) < 30 ? 255 : 0)) };
  t.same([...gradientFeatures([turned]).data.subarray((3 * 8 + 4) * 11, (3 * 8 + 4) * 11 + 8)], [0, 0, 0, 0, 0, 0, 0.25, 0], 'brightness that falls downwards');
  t.end();
});
