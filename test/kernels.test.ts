import t from 'tap';
import { type Tensor } from 'seedbed';
import { native } from '#lib/native.js';
import { ramp, refused, worst } from './support.js';

type Dtype = 'float32' | 'bfloat16';
type Floats = Tensor<'float32'>;

const codes = native().vectorCodes();

/** Rounds to bfloat16 (to nearest, ties to even): the bits. */
function toBits(values: ArrayLike<number>): Uint16Array {
  const bits = new Uint32Array(Float32Array.from(values).buffer);
  return Uint16Array.from(bits, (b) => (b + 0x7fff + ((b >>> 16) & 1)) >>> 16);
}
const fromBits = (bits: ArrayLike<number>): Float32Array => new Float32Array(Uint32Array.from(bits, (b) => b << 16).buffer);
const as = (x: Floats, dtype: Dtype): Tensor => (dtype === 'float32' ? x : { data: toBits(x.data), shape: x.shape, dtype });
/** What the kernel sees of x. */
const rounded = (x: Floats, dtype: Dtype): ArrayLike<number> => (dtype === 'float32' ? x.data : fromBits(toBits(x.data)));
const floats = (x: Tensor | undefined): ArrayLike<number> => (x?.dtype === 'bfloat16' ? fromBits(x.data as Uint16Array) : ((x?.data ?? []) as Float32Array));

interface Shape {
  batch: number;
  queries: number;
  keys: number;
  heads: number;
  d: number;
}

/** softmax(q k^T scale) v and its gradients for the output gradient g, in double precision by plain loops. All tensors [B, L, heads, d]. */
function plainAttention(shape: Shape, q: ArrayLike<number>, k: ArrayLike<number>, v: ArrayLike<number>, scale: number, g: ArrayLike<number>): Record<'out' | 'gradQ' | 'gradK' | 'gradV', Float64Array> {
  const { batch, queries, keys, heads, d } = shape;
  const at = (x: ArrayLike<number>, i: number): number => x[i] ?? NaN;
  const out = new Float64Array(batch * queries * heads * d);
  const gradQ = new Float64Array(out.length);
  const gradK = new Float64Array(batch * keys * heads * d);
  const gradV = new Float64Array(gradK.length);
  for (let b = 0; b < batch; b++)
    for (let h = 0; h < heads; h++)
      for (let i = 0; i < queries; i++) {
        const row = ((b * queries + i) * heads + h) * d;
        const key = (j: number): number => ((b * keys + j) * heads + h) * d;
        const dot = (x: ArrayLike<number>, y: ArrayLike<number>, j: number): number => Array.from({ length: d }, (_, c) => at(x, row + c) * at(y, key(j) + c)).reduce((s, p) => s + p, 0);
        const scores = Array.from({ length: keys }, (_, j) => dot(q, k, j) * scale);
        const largest = Math.max(...scores);
        const exponentials = scores.map((s) => Math.exp(s - largest));
        const total = exponentials.reduce((s, e) => s + e, 0);
        const p = exponentials.map((e) => e / total);
        const dp = Array.from({ length: keys }, (_, j) => dot(g, v, j));
        const mean = p.reduce((s, x, j) => s + x * at(dp, j), 0);
        for (let j = 0; j < keys; j++) {
          const ds = at(p, j) * (at(dp, j) - mean) * scale;
          for (let c = 0; c < d; c++) {
            out[row + c] = at(out, row + c) + at(p, j) * at(v, key(j) + c);
            gradQ[row + c] = at(gradQ, row + c) + ds * at(k, key(j) + c);
            gradK[key(j) + c] = at(gradK, key(j) + c) + ds * at(q, row + c);
            gradV[key(j) + c] = at(gradV, key(j) + c) + at(p, j) * at(g, row + c);
          }
        }
      }
  return { out, gradQ, gradK, gradV };
}

const inputs = ({ batch, queries, keys, heads, d }: Shape): Record<'q' | 'k' | 'v' | 'g', Floats> => ({
  q: ramp(1, [batch, queries, heads, d], 3),
  k: ramp(2, [batch, keys, heads, d], 3),
  v: ramp(3, [batch, keys, heads, d], 3),
  g: ramp(4, [batch, queries, heads, d], 3),
});

/** [B, L, heads, d] -> [B, heads, L, d] or back. */
function swapped(x: Floats): Floats {
  const [batch = 0, rows = 0, columns = 0, d = 0] = x.shape;
  const data = new Float32Array(x.data.length);
  for (let b = 0; b < batch; b++)
    for (let i = 0; i < rows; i++)
      for (let j = 0; j < columns; j++) data.set(x.data.subarray(((b * rows + i) * columns + j) * d, ((b * rows + i) * columns + j + 1) * d), ((b * columns + j) * rows + i) * d);
  return { data, shape: [batch, columns, rows, d], dtype: 'float32' };
}

t.test('errors', async (t) => {
  const x = ramp(1, [1, 4, 2, 8]);
  const cases: [string, () => unknown, string, RegExp][] = [
    ['a dimension is missing', () => native().attention({ q: ramp(1, [4, 2, 8]), k: x, v: x }), 'ERR_SHAPE', /attention: q must have shape \[\*, \*, \*, \*\], got \[4, 2, 8\]/],
    ['other heads', () => native().attention({ q: x, k: ramp(1, [1, 4, 4, 4]), v: x }), 'ERR_SHAPE', /attention: k must have shape \[1, \*, 2, 8\]/],
    ['values without keys', () => native().attention({ q: x, k: x, v: ramp(1, [1, 5, 2, 8]) }), 'ERR_SHAPE', /attention: v must have shape \[1, 4, 2, 8\]/],
    ['mixed types', () => native().attention({ q: x, k: x, v: as(x, 'bfloat16') }), 'ERR_DTYPE', /attention: v/],
    ['no key', () => native().attention({ q: x, k: ramp(1, [1, 0, 2, 8]), v: ramp(1, [1, 0, 2, 8]) }), 'ERR_INVALID_ARGUMENT', /at least one key/],
    ['unknown vector code', () => native().attention({ q: x, k: x, v: x, kernel: 'mmx' }), 'ERR_INVALID_ARGUMENT', /no vector code 'mmx'/],
    ['groups that do not divide', () => native().groupNorm({ x, groups: 3 }), 'ERR_INVALID_ARGUMENT', /groups that divide 4 channels, received 3/],
    ['a weight of another length', () => native().groupNorm({ x, groups: 2, weight: ramp(1, [5]) }), 'ERR_SHAPE', /group_norm: weight/],
    ['an odd gate', () => native().geglu({ x: ramp(1, [2, 7]) }), 'ERR_INVALID_ARGUMENT', /even last dimension, received 7/],
  ];
  await refused(t, cases);
});

const shapes: Record<string, Shape> = {
  'cross attention of 77 keys, head size 40': { batch: 2, queries: 50, keys: 77, heads: 2, d: 40 },
  'several key blocks, head size 64': { batch: 1, queries: 49, keys: 300, heads: 2, d: 64 },
  'several chunks of keys': { batch: 1, queries: 3, keys: 2500, heads: 1, d: 16 },
  'head size 80': { batch: 1, queries: 17, keys: 65, heads: 1, d: 80 },
  'head size 160': { batch: 1, queries: 33, keys: 9, heads: 1, d: 160 },
  'head size 32': { batch: 1, queries: 16, keys: 16, heads: 3, d: 32 },
  'head size 7': { batch: 1, queries: 100, keys: 131, heads: 1, d: 7 },
  'one query': { batch: 1, queries: 1, keys: 5, heads: 2, d: 8 },
  'one key': { batch: 1, queries: 5, keys: 1, heads: 1, d: 24 },
};

t.test('attention and its gradients equal plain loops in double precision', async (t) => {
  for (const [name, shape] of Object.entries(shapes))
    for (const dtype of ['float32', 'bfloat16'] as const) {
      const { q, k, v, g } = inputs(shape);
      const scale = 1 / Math.sqrt(shape.d);
      const [rq, rk, rv, rg] = [q, k, v, g].map((x) => rounded(x, dtype)) as [Floats['data'], Floats['data'], Floats['data'], Floats['data']];
      const expected = plainAttention(shape, rq, rk, rv, scale, rg);
      // bfloat16: 8 bits of result, and probabilities rounded so where the processor multiplies bfloat16
      const tolerance = dtype === 'float32' ? { rtol: 1e-5, atol: 1e-5 } : { rtol: 8e-3, atol: 1.5e-2 };
      for (const kernel of [...codes, 'reference'])
        for (const headsFirst of [false, true]) {
          const [tq, tk, tv, tg] = [q, k, v, g].map((x) => as(headsFirst ? swapped(x) : x, dtype));
          const kind = kernel === 'reference' ? { kind: 'reference' } : { kernel };
          const actual = native().attention({ q: tq, k: tk, v: tv, gradient: tg, scale, headsFirst, ...kind });
          for (const [field, wanted] of Object.entries(expected)) {
            if (kernel === 'reference' && dtype === 'bfloat16') continue; // rounds between its steps
            const got = worst(floats(actual[field as keyof typeof expected]), wanted, tolerance);
            t.ok(got <= 1, `${name}, ${dtype}, ${kernel}${headsFirst ? ', strided' : ''}: ${field} (${got.toFixed(2)})`);
          }
        }
    }
});

t.test('without a gradient attention gives the same bytes as with one', async (t) => {
  const { q, k, v, g } = inputs({ batch: 1, queries: 70, keys: 140, heads: 2, d: 40 });
  for (const kernel of codes) t.same(native().attention({ q, k, v, scale: 0.2, kernel }).out.data, native().attention({ q, k, v, scale: 0.2, kernel, gradient: g }).out.data, kernel);
});

t.test('the number of threads does not change a byte', async (t) => {
  const { q, k, v, g } = inputs({ batch: 1, queries: 130, keys: 1100, heads: 3, d: 40 });
  const x = ramp(5, [2, 64, 33, 9]);
  for (const kernel of codes)
    for (const dtype of ['float32', 'bfloat16'] as const) {
      const [tq, tk, tv, tg] = [q, k, v, g].map((tensor) => as(tensor, dtype));
      const run = (threads: number): Buffer[] => {
        const { out, gradQ, gradK, gradV } = native().attention({ q: tq, k: tk, v: tv, gradient: tg, scale: 0.2, kernel, threads });
        const norm = [false, true].map((channelsLast) => native().groupNorm({ x: as(x, dtype), groups: 8, silu: true, channelsLast, kernel, threads }).data);
        const gated = native().geglu({ x: as(ramp(6, [400, 130]), dtype), kernel, threads });
        return [out.data, gradQ?.data, gradK?.data, gradV?.data, ...norm, gated.data].map((data) => Buffer.from(data?.buffer ?? new ArrayBuffer(0)));
      };
      const [one, two] = [run(1), run(2)];
      t.ok(one.every((bytes, i) => bytes.length > 0 && bytes.equals(two[i] ?? Buffer.alloc(0))), `${kernel}, ${dtype}`);
    }
});

t.test('NaN goes through, and only where it belongs', async (t) => {
  const shape: Shape = { batch: 1, queries: 20, keys: 30, heads: 2, d: 8 };
  for (const kernel of codes) {
    const broken = (which: 'q' | 'k' | 'v', place: number): ArrayLike<number> => {
      const all = inputs(shape);
      all[which].data[place] = NaN;
      return native().attention({ q: all.q, k: all.k, v: all.v, scale: 0.3, kernel }).out.data as Float32Array;
    };
    const spoiled = (data: ArrayLike<number>): number[] => Array.from(data).flatMap((x, i) => (Number.isNaN(x) ? [i] : []));
    t.same(spoiled(broken('q', 3 * 16 + 8)), Array.from({ length: 8 }, (_, c) => 3 * 16 + 8 + c), `${kernel}: a query spoils its own row`);
    t.equal(spoiled(broken('k', 7 * 16 + 2)).length, 20 * 8, `${kernel}: a key spoils its head`);
    t.same(spoiled(broken('v', 7 * 16 + 5)), Array.from({ length: 20 }, (_, i) => i * 16 + 5), `${kernel}: a value spoils its column`);
  }
});

t.test('extreme scores stay finite', async (t) => {
  const shape: Shape = { batch: 1, queries: 40, keys: 200, heads: 1, d: 8 };
  const { q, k, v, g } = inputs(shape);
  for (const scale of [1e4, -1e4]) {
    const expected = plainAttention(shape, q.data, k.data, v.data, scale, g.data);
    for (const kernel of codes) {
      const { out, gradQ, gradK, gradV } = native().attention({ q, k, v, gradient: g, scale, kernel });
      for (const x of [out, gradQ, gradK, gradV]) t.ok(Array.from(floats(x)).every(Number.isFinite), `${kernel}, scale ${scale}`);
      const certain = Array.from(expected.out).filter((wanted, i) => Math.abs((out.data[i] as number) - wanted) < 1e-2).length; // ties of single precision may differ
      t.ok(certain > 0.9 * expected.out.length, `${kernel}: ${certain} of ${expected.out.length}`);
    }
  }
});

/** Group normalisation of [B, C, H, W] by its definition. */
function plainGroupNorm(x: ArrayLike<number>, [batch, channels, pixels]: [number, number, number], groups: number, weight: ArrayLike<number>, bias: ArrayLike<number>, eps: number, silu: boolean): Float64Array {
  const out = new Float64Array(batch * channels * pixels);
  const size = (channels / groups) * pixels;
  for (let g = 0; g < batch * groups; g++) {
    const run = Array.from({ length: size }, (_, i) => x[g * size + i] ?? NaN);
    const mean = run.reduce((a, b) => a + b, 0) / size;
    const variance = run.reduce((a, b) => a + (b - mean) ** 2, 0) / size;
    for (let i = 0; i < size; i++) {
      const c = Math.floor((g * size + i) / pixels) % channels;
      const y = (((run[i] ?? NaN) - mean) / Math.sqrt(variance + eps)) * (weight[c] ?? NaN) + (bias[c] ?? NaN);
      out[g * size + i] = silu ? y / (1 + Math.exp(-y)) : y;
    }
  }
  return out;
}

t.test('group norm equals its definition, also far from zero', async (t) => {
  const weight = ramp(7, [60], 2);
  const bias = ramp(8, [60], 2);
  for (const [height, width, offset] of [
    [13, 7, 0],
    [64, 40, 1000],
    [1, 1, 0],
  ] as const)
    for (const dtype of ['float32', 'bfloat16'] as const) {
      const x = ramp(9, [2, 60, height, width], 6);
      x.data.forEach((value, i) => (x.data[i] = value + offset));
      for (const silu of [false, true]) {
        const expected = plainGroupNorm(rounded(x, dtype), [2, 60, height * width], 6, weight.data, bias.data, 1e-5, silu);
        // the mean of 1,000 is known to 6e-5 in single precision
        const tolerance = dtype === 'bfloat16' ? { rtol: 8e-3, atol: 1e-3 } : { rtol: 1e-5, atol: offset > 0 ? 1e-4 : 1e-5 };
        for (const kernel of codes)
          for (const channelsLast of [false, true]) {
            const got = worst(floats(native().groupNorm({ x: as(x, dtype), groups: 6, weight, bias, eps: 1e-5, silu, channelsLast, kernel })), expected, tolerance);
            t.ok(got <= 1, `${height} x ${width} at ${offset}, ${dtype}, ${kernel}${silu ? ', silu' : ''}${channelsLast ? ', channels last' : ''} (${got.toFixed(2)})`);
          }
      }
    }
});

t.test('gated gelu equals its definition', async (t) => {
  // The gate's halves; x * Phi(x) from tables of the normal distribution: Phi(1) = 0.841344746068543, Phi(2) = 0.977249868051821.
  const known: [number, number][] = [
    [0, 0],
    [1, 0.841344746068543],
    [-1, -0.158655253931457],
    [2, 1.954499736103642],
    [-2, -0.045500263896358],
    [-4, -0.000126684973],
    [30, 30],
    [-30, 0],
    [1e30, 1e30],
  ];
  const width = known.length;
  const x: Floats = { data: Float32Array.from([...known.map((_, i) => i + 1), ...known.map(([gate]) => gate)]), shape: [1, 2 * width], dtype: 'float32' };
  const expected = known.map(([, gelu], i) => (i + 1) * gelu);
  const long = ramp(3, [37, 2 * 50], 10);
  for (const kernel of codes) {
    const got = worst(floats(native().geglu({ x, kernel })), expected, { rtol: 1e-5, atol: 3e-7 });
    t.ok(got <= 1, `${kernel} (${got.toFixed(2)})`);
    const against = worst(floats(native().geglu({ x: long, kernel })), floats(native().geglu({ x: long, kind: 'reference' })), { rtol: 1e-6, atol: 3e-6 });
    t.ok(against <= 1, `${kernel} equals libtorch (${against.toFixed(2)})`);
    const bits = worst(floats(native().geglu({ x: as(x, 'bfloat16'), kernel })), expected, { rtol: 8e-3, atol: 1e-6 });
    t.ok(bits <= 1, `${kernel}, bfloat16 (${bits.toFixed(2)})`);
    t.ok(Number.isNaN(floats(native().geglu({ x: { ...x, data: x.data.map(() => NaN) }, kernel }))[0]), `${kernel}: NaN stays`);
  }
});

t.test('numbers are rounded to bfloat16 and back', (t) => {
  const special = [0, -0, 1, 1.00390625, 1.01171875, -1.00390625, 3.4e38, -Infinity, Infinity, 1e-40, -1.2e-38, 65280.5]; // two ties among them, one up and one down to even
  const data = Float32Array.from([...special, ...ramp(3, [61], 100).data]);
  const x: Floats = { data, shape: [data.length], dtype: 'float32' };
  const added = ramp(4, [data.length]);
  for (const kernel of codes) {
    const bits = native().changePrecision({ x, kernel });
    t.same(bits, { data: toBits(data), shape: x.shape, dtype: 'bfloat16' }, kernel);
    t.same(native().changePrecision({ x: bits, kernel }).data, fromBits(toBits(data)), `${kernel}, back`);
    t.same(native().changePrecision({ x: bits, added, kernel }).data, fromBits(toBits(data)).map((v, i) => v + (added.data[i] ?? NaN)), `${kernel}, added`);
    t.ok(Number.isNaN(floats(native().changePrecision({ x: { ...x, data: data.map(() => NaN) }, kernel }))[0]), `${kernel}: NaN stays`);
  }
  t.end();
});

t.test('a trained linear layer and its gradients equal plain loops in double precision', (t) => {
  for (const [rows, width, out] of [
    [5, 3, 7],
    [70, 160, 224], // the weight's gradient by oneDNN
  ] as const) {
    const [x, weight, bias, residual, gradient] = [ramp(1, [rows, width]), ramp(2, [out, width]), ramp(3, [out]), ramp(4, [rows, out]), ramp(5, [rows, out])];
    for (const precision of ['float32', 'bfloat16'] as const) {
      const [rx, rw, rb, rg] = [x, weight, bias, gradient].map((tensor) => rounded(tensor, precision)) as [ArrayLike<number>, ArrayLike<number>, ArrayLike<number>, ArrayLike<number>];
      const product = (n: number, m: number, length: number, term: (i: number, j: number, k: number) => number): Float64Array =>
        Float64Array.from({ length: n * m }, (_, at) => Array.from({ length }, (_, k) => term(Math.floor(at / m), at % m, k)).reduce((a, b) => a + b, 0));
      const expected = {
        out: product(rows, out, width, (i, j, k) => (rx[i * width + k] ?? NaN) * (rw[j * width + k] ?? NaN)).map((y, at) => y + (rb[at % out] ?? NaN) + (residual.data[at] ?? NaN)),
        gradX: product(rows, width, out, (i, j, k) => (rg[i * out + k] ?? NaN) * (rw[k * width + j] ?? NaN)),
        gradWeight: product(out, width, rows, (i, j, k) => (rg[k * out + i] ?? NaN) * (rx[k * width + j] ?? NaN)),
        gradBias: product(out, 1, rows, (i, _, k) => gradient.data[k * out + i] ?? NaN),
        gradResidual: gradient.data,
      };
      const actual = native().trainedLinear({ x, weight, bias, residual, gradient, precision });
      const tolerance = precision === 'float32' ? { rtol: 1e-5, atol: 1e-4 } : { rtol: 8e-3, atol: 3e-2 }; // bfloat16 keeps 8 bits of each result
      for (const [name, values] of Object.entries(expected)) {
        const found = worst(floats(actual[name as keyof typeof actual]), values, tolerance);
        t.ok(found <= 1, `${precision}, ${rows} x ${width} x ${out}: ${name} (${found.toFixed(2)})`);
      }
      const plain = native().trainedLinear({ x, weight, gradient, precision });
      t.ok(worst(floats(plain.out), expected.out.map((y, at) => y - (rb[at % out] ?? NaN) - (residual.data[at] ?? NaN)), tolerance) <= 1, 'without bias and residual');
    }
  }
  t.end();
});

t.test("gradients of group norm and gated gelu equal libtorch's", async (t) => {
  for (const [channels, groups, height, width] of [
    [60, 6, 13, 7],
    [64, 32, 16, 16],
    [24, 3, 1, 1],
    [512, 32, 40, 9],
  ] as const)
    for (const silu of [false, true]) {
      const shape = [2, channels, height, width];
      const options = { x: ramp(9, shape, 6), groups, eps: 1e-5, silu, weight: ramp(7, [channels], 2), bias: ramp(8, [channels], 2), gradient: ramp(11, shape, 2) };
      const expected = native().groupNorm({ ...options, kind: 'reference' });
      for (const kernel of codes)
        for (const channelsLast of [false, true]) {
          const found = native().groupNorm({ ...options, kernel, channelsLast });
          for (const name of ['out', 'gradX', 'gradWeight', 'gradBias'] as const) {
            const size = Math.sqrt(Array.from(floats(expected[name])).reduce((sum, value) => sum + value * value, 0) / expected[name].data.length);
            const got = worst(floats(found[name]), floats(expected[name]), { rtol: 1e-5, atol: 5e-6 * size });
            t.ok(got <= 1, `${shape.join(' x ')} in ${groups} groups, ${name}, ${kernel}${silu ? ', silu' : ''}${channelsLast ? ', channels last' : ''} (${got.toFixed(2)})`);
          }
        }
    }
  const gate = { x: ramp(3, [37, 2 * 50], 10), gradient: ramp(4, [37, 50], 2) };
  gate.x.data.set([0, -12, 12, -30, 30, -1e-20], 50); // gates at the ends
  const expected = native().geglu({ ...gate, kind: 'reference' });
  for (const kernel of codes) {
    const got = worst(floats(native().geglu({ ...gate, kernel }).gradX), floats(expected.gradX), { rtol: 2e-6, atol: 5e-6 });
    t.ok(got <= 1, `gated gelu, ${kernel} (${got.toFixed(2)})`);
  }
});

/** a b of [rows, inner] and [inner, columns], given by what lies at (i, j), in double precision. */
function product(rows: number, inner: number, columns: number, a: (i: number, j: number) => number, b: (i: number, j: number) => number): Float64Array {
  const out = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) for (let n = 0; n < inner; n++) out[i * columns + j] = (out[i * columns + j] as number) + a(i, n) * b(n, j);
  return out;
}

t.test('low-rank products of a training step and their gradients: the plain sums', async (t) => {
  const at = (x: { data: ArrayLike<number> }, columns: number) => (i: number, j: number) => x.data[i * columns + j] as number;
  const turned = (f: (i: number, j: number) => number) => (i: number, j: number) => f(j, i);
  for (const [rows, inside, rank, out] of [[70, 40, 16, 33], [1, 1, 1, 1], [19, 130, 50, 101], [200, 64, 4, 96], [300, 96, 64, 64]] as const) {
    const scale = 0.75;
    const [x, down, up, y, gradient] = [ramp(1, [rows, inside]), ramp(2, [rank, inside]), ramp(3, [out, rank]), ramp(4, [rows, out]), ramp(5, [rows, out])] as const;
    const hidden = product(rows, inside, rank, at(x, inside), turned(at(down, inside))).map((v) => v * scale);
    const gradHidden = product(rows, out, rank, at(gradient, out), at(up, rank)).map((v) => v * scale);
    const added = product(rows, rank, out, at({ data: hidden }, rank), turned(at(up, rank)));
    const expected = {
      out: added.map((v, i) => v + (y.data[i] as number)),
      gradX: product(rows, rank, inside, at({ data: gradHidden }, rank), at(down, inside)),
      gradDown: product(rank, rows, inside, turned(at({ data: gradHidden }, rank)), at(x, inside)),
      gradUp: product(out, rows, rank, turned(at(gradient, out)), at({ data: hidden }, rank)),
    };
    for (const kernel of codes) {
      const got = [1, 2].map((threads) => native().trainedLowRank({ x, down, up, y: { ...y, data: y.data.slice() }, gradient, scale, kernel, threads }));
      t.same(got[1], got[0], `${rows} x ${inside} x ${out}, rank ${rank}, ${kernel}: the same bytes with two threads`);
      for (const [name, values] of Object.entries(expected)) {
        const off = worst(floats(got[0]?.[name as keyof typeof expected]), values, { rtol: 1e-5, atol: 1e-4 });
        t.ok(off <= 1, `${rows} x ${inside} x ${out}, rank ${rank}, ${kernel}: ${name} (${off.toFixed(3)})`);
      }
    }
  }
  const call = { x: ramp(1, [3, 4]), down: ramp(2, [2, 4]), up: ramp(3, [5, 2]), y: ramp(4, [3, 5]), gradient: ramp(5, [3, 5]) };
  await refused(t, [
    ['another width', () => native().trainedLowRank({ ...call, down: ramp(2, [2, 3]) }), 'ERR_SHAPE', /factor down/],
    ['another output', () => native().trainedLowRank({ ...call, y: ramp(4, [3, 100]) }), 'ERR_SHAPE', /factor up/],
    ['another rank', () => native().trainedLowRank({ ...call, up: ramp(3, [5, 1]) }), 'ERR_SHAPE', /factor down/],
    ['other rows', () => native().trainedLowRank({ ...call, y: ramp(4, [2, 5]) }), 'ERR_INVALID_ARGUMENT', /rows/],
  ]);
});

t.test('convolutions of frozen filters equal libtorch, with their gradients', async (t) => {
  for (const [size, inside, out, height, width] of [[3, 40, 33, 4, 4], [3, 4, 64, 16, 16], [3, 64, 4, 5, 9], [1, 20, 48, 8, 8], [5, 3, 7, 6, 4], [3, 48, 40, 16, 16]] as const)
    for (const added of [false, true]) {
      const [x, weight, bias] = [ramp(1, [2, inside, height, width]), ramp(2, [out, inside, size, size], 0.2), ramp(3, [out])];
      const [gradient, residual] = [ramp(4, [2, out, height, width]), added ? ramp(5, [2, out, height, width]) : undefined];
      const call = { x, weight, bias, gradient, ...(residual && { residual }) };
      const expected = native().frozenConvolution({ ...call, kind: 'reference' });
      const got = native().frozenConvolution(call);
      for (const name of ['out', 'gradX', ...(added ? (['gradResidual'] as const) : [])] as const) {
        const off = worst(floats(got[name]), floats(expected[name]), { rtol: 2e-5, atol: 2e-5 });
        t.ok(off <= 1, `${size} x ${size}, ${inside} to ${out} channels, ${height} x ${width}${added ? ', added' : ''}: ${name} (${off.toFixed(3)})`);
      }
    }
});

t.test('low-rank products: the plain sums, for all terms of one x', async (t) => {
  const shapes: [title: string, lead: number[], inside: number, terms: [rank: number, out: number, output: number, scale: number, first?: number][], width?: number][] = [
    ['queries, keys and values', [2, 77], 40, [[4, 40, 0, 1], [4, 40, 1, 0.5], [4, 40, 2, -2]]],
    ['two adapters of a layer', [65], 33, [[16, 70, 0, 0.25], [5, 70, 0, 1]]],
    ['one row, one column', [1, 1], 1, [[1, 1, 0, 1]]],
    ['rank and sides above a tile', [19], 130, [[50, 101, 0, 1]]],
    ['parts of the columns', [9], 24, [[3, 20, 0, 1], [2, 20, 0, 1, 40]], 60],
    ['rows enough for several threads', [300], 64, [[64, 128, 0, 1]]],
  ];
  for (const [title, lead, inside, terms, width] of shapes)
    for (const dtype of ['float32', 'bfloat16'] as const) {
      const rows = lead.reduce((a, b) => a * b, 1);
      const x = ramp(1, [...lead, inside], 2);
      const widths = terms.reduce<number[]>((all, [, out, output]) => Object.assign(all, { [output]: width ?? out }), []);
      const outputs = widths.map((out, i) => ramp(10 + i, [...lead, out], 1));
      const factors = terms.map(([rank, out], i) => ({ down: ramp(20 + i, [rank, inside], 1), up: ramp(30 + i, [out, rank], 1) }));
      const expected = outputs.map((y) => Float64Array.from(rounded(y, dtype)));
      const seen = rounded(x, dtype);
      for (const [i, [rank, out, output, scale, first = 0]] of terms.entries()) {
        const { down, up } = factors[i] as { down: Floats; up: Floats };
        for (let row = 0; row < rows; row++)
          for (let o = 0; o < out; o++) {
            let sum = 0;
            for (let j = 0; j < rank; j++) {
              let hidden = 0;
              for (let c = 0; c < inside; c++) hidden += (seen[row * inside + c] as number) * (down.data[j * inside + c] as number);
              sum += hidden * (up.data[o * rank + j] as number);
            }
            const place = row * (width ?? out) + first + o;
            (expected[output] as Float64Array)[place] = ((expected[output] as Float64Array)[place] as number) + scale * sum;
          }
      }
      const call = { x: as(x, dtype), outputs: outputs.map((y) => as(y, dtype)), terms: terms.map(([, , output, scale, first = 0], i) => ({ ...factors[i], output, scale, first })) };
      let first: Tensor[] | undefined;
      for (const kernel of codes)
        for (const threads of [1, 2]) {
          const result = native().lowRank({ ...call, kernel, threads });
          const tolerance = dtype === 'float32' ? { rtol: 1e-5, atol: 1e-4 } : { rtol: terms.length * 2 ** -8, atol: 0.05 };
          for (const [i, y] of result.entries()) t.ok(worst(floats(y), expected[i] as Float64Array, tolerance) <= 1, `${title}, ${dtype}, ${kernel}, output ${i} (${worst(floats(y), expected[i] as Float64Array, tolerance).toFixed(3)})`);
          if (threads === 1) first = result;
          else t.same(result, first, `${title}, ${dtype}, ${kernel}: the same bytes with two threads`);
        }
      const plain = native().lowRank({ ...call, kind: 'reference' });
      for (const [i, y] of plain.entries()) t.ok(worst(floats(y), expected[i] as Float64Array, dtype === 'float32' ? { rtol: 1e-5, atol: 1e-4 } : { rtol: 0.05, atol: 0.3 }) <= 1, `${title}, ${dtype}, the plain way, output ${i}`);
    }
  const x = ramp(1, [3, 4]);
  const call = (down: number[], up: number[], y: number[]) => () => native().lowRank({ x, outputs: [ramp(2, y)], terms: [{ down: ramp(3, down), up: ramp(4, up), output: 0, scale: 1 }] });
  await refused(t, [
    ['another width', call([2, 5], [6, 2], [3, 6]), 'ERR_INVALID_ARGUMENT', /factors/],
    ['another output', call([2, 4], [6, 2], [3, 5]), 'ERR_INVALID_ARGUMENT', /factors/],
    ['other rows', call([2, 4], [6, 2], [2, 6]), 'ERR_INVALID_ARGUMENT', /factors/],
    ['ranks that differ', call([3, 4], [6, 2], [3, 6]), 'ERR_INVALID_ARGUMENT', /factors/],
  ]);
});
