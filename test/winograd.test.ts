import t from 'tap';
import { type Tensor } from 'seedbed';
import { native } from '#lib/native.js';
import { ramp, refused, worst } from './support.js';

type Floats = Tensor<'float32'>;

const codes = native().vectorCodes();
const bytes = (data: Float32Array | undefined): Buffer => Buffer.from(data?.buffer ?? new ArrayBuffer(0), data?.byteOffset, data?.byteLength);

interface Shape {
  batch: number;
  inputs: number;
  outputs: number;
  height: number;
  width: number;
}

/** Uneven numbers of size 1 that do not repeat within a channel, as `ramp` would every 1000. */
function noise(salt: number, shape: readonly number[]): Floats {
  const length = shape.reduce((a, b) => a * b, 1);
  return { data: Float32Array.from({ length }, (_, i) => ((Math.sin((i + 1) * 12.9898 + salt * 78.233) * 43758.5453) % 1) * 1.7), shape, dtype: 'float32' };
}

/** Convolution with 3 x 3 filters and a border of zeros in double precision, by its definition. */
function plain({ batch, inputs, outputs, height, width }: Shape, x: Floats, weight: Floats): Float64Array {
  const out = new Float64Array(batch * outputs * height * width);
  const at = (values: ArrayLike<number>, i: number): number => values[i] ?? NaN;
  for (let b = 0, place = 0; b < batch; b++)
    for (let n = 0; n < outputs; n++)
      for (let i = 0; i < height; i++)
        for (let j = 0; j < width; j++, place++) {
          let sum = 0;
          for (let u = Math.max(0, i - 1); u <= Math.min(height - 1, i + 1); u++)
            for (let v = Math.max(0, j - 1); v <= Math.min(width - 1, j + 1); v++)
              for (let c = 0; c < inputs; c++) sum += at(x.data, ((b * inputs + c) * height + u) * width + v) * at(weight.data, ((n * inputs + c) * 3 + u - i + 1) * 3 + v - j + 1);
          out[place] = sum;
        }
  return out;
}

function tensors({ batch, inputs, outputs, height, width }: Shape): { x: Floats; weight: Floats; bias: Floats; residual: Floats } {
  const weight = noise(2, [outputs, inputs, 3, 3]);
  weight.data.forEach((value, i) => (weight.data[i] = value / Math.sqrt(9 * inputs)));
  return { x: noise(1, [batch, inputs, height, width]), weight, bias: noise(3, [outputs]), residual: noise(4, [batch, outputs, height, width]) };
}

t.test('errors', async (t) => {
  const x = ramp(1, [1, 4, 5, 5]);
  const weight = ramp(2, [6, 4, 3, 3]);
  const cases: [string, () => unknown, string, RegExp][] = [
    ['a dimension is missing', () => native().winogradConvolution({ x: ramp(1, [4, 5, 5]), weight }), 'ERR_SHAPE', /winograd_conv3x3: x must have shape \[\*, \*, \*, \*\], got \[4, 5, 5\]/],
    ['other channels', () => native().winogradConvolution({ x, weight: ramp(2, [6, 5, 3, 3]) }), 'ERR_SHAPE', /winograd_conv3x3: packed must have shape \[1, 4, 9, 64\], got \[1, 5, 9, 64\]/],
    ['a larger filter', () => native().winogradConvolution({ x, weight: ramp(2, [6, 4, 5, 5]) }), 'ERR_SHAPE', /pack_winograd: weight must have shape \[\*, \*, 3, 3\]/],
    ['no channel', () => native().winogradConvolution({ x: ramp(1, [1, 0, 5, 5]), weight: ramp(2, [6, 0, 3, 3]) }), 'ERR_INVALID_ARGUMENT', /at least one channel/],
    ['a bias of another length', () => native().winogradConvolution({ x, weight, bias: ramp(3, [5]) }), 'ERR_SHAPE', /winograd_conv3x3: bias must have shape \[6\], got \[5\]/],
    ['a residual of another size', () => native().winogradConvolution({ x, weight, residual: ramp(3, [1, 6, 5, 4]) }), 'ERR_SHAPE', /winograd_conv3x3: residual must have shape \[1, 6, 5, 5\]/],
    ['bytes', () => native().winogradConvolution({ x: { data: new Uint8Array(100), shape: [1, 4, 5, 5], dtype: 'uint8' }, weight }), 'ERR_DTYPE', /winograd_conv3x3: x/],
    ['unknown vector code', () => native().winogradConvolution({ x, weight, kernel: 'mmx' }), 'ERR_INVALID_ARGUMENT', /no vector code 'mmx'/],
  ];
  await refused(t, cases);
});

const shapes: Record<string, Shape> = {
  'whole tiles': { batch: 1, inputs: 32, outputs: 64, height: 8, width: 12 },
  'ragged tiles, odd channels': { batch: 2, inputs: 35, outputs: 71, height: 5, width: 7 },
  'one pixel': { batch: 3, inputs: 3, outputs: 5, height: 1, width: 1 },
  'a narrow picture': { batch: 1, inputs: 17, outputs: 33, height: 17, width: 4 },
  'several blocks of channels': { batch: 1, inputs: 150, outputs: 140, height: 5, width: 4 },
  'several blocks of tiles': { batch: 2, inputs: 5, outputs: 9, height: 30, width: 37 },
  'one channel': { batch: 1, inputs: 1, outputs: 1, height: 9, width: 2 },
};

t.test('equals its definition in double precision', async (t) => {
  for (const [name, shape] of Object.entries(shapes)) {
    const { x, weight, bias, residual } = tensors(shape);
    const sums = plain(shape, x, weight);
    for (const extra of [{}, { bias }, { residual }, { bias, residual }] as { bias?: Floats; residual?: Floats }[]) {
      const pixels = shape.height * shape.width;
      const expected = sums.map((sum, i) => sum + (extra.bias?.data[Math.floor(i / pixels) % shape.outputs] ?? 0) + (extra.residual?.data[i] ?? 0));
      for (const kernel of codes) {
        const out = native().winogradConvolution({ x, weight, ...extra, kernel });
        t.same(out.shape, [shape.batch, shape.outputs, shape.height, shape.width]);
        const got = worst(out.data, expected, { rtol: 0, atol: 1e-5 }); // sums of size 1 to 3 whose parts are up to ten times larger
        t.ok(got <= 1, `${name}, ${kernel}, ${Object.keys(extra).join(' and ') || 'nothing added'} (${got.toFixed(2)})`);
      }
    }
  }
});

t.test('a single pixel and a single filter give that filter back, mirrored', async (t) => {
  const weight = ramp(0, [1, 1, 3, 3], 1000); // -500, 419, ... : no two alike
  for (const kernel of codes)
    for (let place = 0; place < 25; place++) {
      const x: Floats = { data: new Float32Array(25), shape: [1, 1, 5, 5], dtype: 'float32' };
      x.data[place] = 1;
      const expected = new Float64Array(25);
      const [row, column] = [Math.floor(place / 5), place % 5];
      for (let u = -1; u <= 1; u++)
        for (let v = -1; v <= 1; v++) if (row + u >= 0 && row + u < 5 && column + v >= 0 && column + v < 5) expected[(row + u) * 5 + column + v] = weight.data[(1 - u) * 3 + 1 - v] ?? NaN;
      const got = worst(native().winogradConvolution({ x, weight, kernel }).data, expected, { rtol: 0, atol: 1e-3 }); // of 500
      t.ok(got <= 1, `${kernel}: pixel ${place} (${got.toFixed(2)})`);
    }
});

t.test('the number of threads does not change a byte', async (t) => {
  for (const shape of [
    { batch: 1, inputs: 70, outputs: 200, height: 9, width: 9 },
    { batch: 2, inputs: 20, outputs: 30, height: 50, width: 41 },
  ])
    for (const kernel of codes) {
      const [one, two] = [1, 2].map((threads) => native().winogradConvolution({ ...tensors(shape), kernel, threads }).data);
      t.ok(bytes(one).length > 0 && bytes(one).equals(bytes(two)), `${kernel}, ${shape.height} x ${shape.width}`);
    }
});

t.test('an image of a batch has the bytes it has alone', async (t) => {
  const shape = { batch: 3, inputs: 66, outputs: 40, height: 21, width: 26 };
  const { x, weight, bias } = tensors(shape);
  for (const kernel of codes) {
    const together = native().winogradConvolution({ x, weight, bias, kernel }).data;
    for (let b = 0; b < shape.batch; b++) {
      const size = x.data.length / shape.batch;
      const alone = native().winogradConvolution({ x: { data: x.data.slice(b * size, (b + 1) * size), shape: [1, ...x.shape.slice(1)], dtype: 'float32' }, weight, bias, kernel }).data;
      t.ok(alone.length > 0 && bytes(alone).equals(bytes(together.subarray(b * alone.length, (b + 1) * alone.length))), `${kernel}: image ${b}`);
    }
  }
});

t.test('NaN goes through, and only to its own image and tiles', async (t) => {
  const shape = { batch: 2, inputs: 20, outputs: 18, height: 12, width: 12 };
  const { x, weight } = tensors(shape);
  x.data[((1 * 20 + 7) * 12 + 5) * 12 + 5] = NaN; // image 1, the middle tile
  for (const kernel of codes) {
    const out = native().winogradConvolution({ x, weight, kernel }).data;
    const at = (b: number, n: number, i: number, j: number): number => out[((b * 18 + n) * 12 + i) * 12 + j] ?? 0;
    for (let n = 0; n < 18; n++) {
      for (const [i, j] of [
        [4, 4],
        [5, 5],
        [6, 6],
      ] as const)
        t.ok(Number.isNaN(at(1, n, i, j)), `${kernel}: output ${n} at ${i}, ${j}`);
      t.ok(Number.isFinite(at(1, n, 0, 0)) && Number.isFinite(at(1, n, 11, 11)) && Number.isFinite(at(0, n, 5, 5)), `${kernel}: output ${n} elsewhere`);
    }
  }
});

/** The gradients of `plain`'s inputs and filters, by their definitions. */
function plainGradients({ batch, inputs, outputs, height, width }: Shape, x: Floats, weight: Floats, gradient: Floats): { x: Float64Array; weight: Float64Array } {
  const out = { x: new Float64Array(x.data.length), weight: new Float64Array(weight.data.length) };
  const at = (values: ArrayLike<number>, i: number): number => values[i] ?? NaN;
  for (let b = 0, place = 0; b < batch; b++)
    for (let n = 0; n < outputs; n++)
      for (let i = 0; i < height; i++)
        for (let j = 0; j < width; j++, place++)
          for (let u = Math.max(0, i - 1); u <= Math.min(height - 1, i + 1); u++)
            for (let v = Math.max(0, j - 1); v <= Math.min(width - 1, j + 1); v++)
              for (let c = 0; c < inputs; c++) {
                const pixel = ((b * inputs + c) * height + u) * width + v;
                const tap = ((n * inputs + c) * 3 + u - i + 1) * 3 + v - j + 1;
                out.x[pixel] = at(out.x, pixel) + at(gradient.data, place) * at(weight.data, tap);
                out.weight[tap] = at(out.weight, tap) + at(gradient.data, place) * at(x.data, pixel);
              }
  return out;
}

t.test('gradients equal their definitions', async (t) => {
  const cases: Shape[] = [
    { batch: 2, inputs: 5, outputs: 7, height: 9, width: 6 },
    { batch: 3, inputs: 64, outputs: 32, height: 4, width: 4 },
    { batch: 1, inputs: 70, outputs: 130, height: 11, width: 5 },
    { batch: 5, inputs: 32, outputs: 96, height: 8, width: 8 },
    { batch: 1, inputs: 1, outputs: 1, height: 1, width: 1 },
  ];
  for (const shape of cases) {
    const { x, weight, bias, residual } = tensors(shape);
    const gradient = noise(5, [shape.batch, shape.outputs, shape.height, shape.width]);
    const expected = plainGradients(shape, x, weight, gradient);
    const size = (values: Float64Array): number => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
    const name = Object.values(shape).join(' x ');
    for (const kernel of codes) {
      const found = native().winogradFilterGradient({ x, gradient, kernel });
      const got = worst(found.data, expected.weight, { rtol: 0, atol: 1e-5 * size(expected.weight) });
      t.ok(got <= 1, `${name}, filters, ${kernel} (${got.toFixed(2)})`);
      t.ok(bytes(native().winogradFilterGradient({ x, gradient, kernel, threads: 2 }).data).equals(bytes(found.data)), `${name}, ${kernel}: the same bytes with 2 threads`);
    }
    const all = native().winogradConvolution({ x, weight, bias, residual, gradient });
    const got = worst(all.gradX.data as Float32Array, expected.x, { rtol: 0, atol: 1e-5 * size(expected.x) });
    t.ok(got <= 1, `${name}, inputs (${got.toFixed(2)})`);
    t.ok(worst(all.gradWeight.data as Float32Array, expected.weight, { rtol: 0, atol: 1e-5 * size(expected.weight) }) <= 1, `${name}, filters through the layer`);
    const sums = Array.from({ length: shape.outputs }, (_, n) => gradient.data.reduce((sum, value, i) => sum + (Math.floor(i / (shape.height * shape.width)) % shape.outputs === n ? value : 0), 0));
    t.ok(worst(all.gradBias.data as Float32Array, sums, { rtol: 1e-5, atol: 1e-4 }) <= 1, `${name}, bias`);
    t.ok(bytes(all.gradResidual.data as Float32Array).equals(bytes(gradient.data)), `${name}, residual`);
  }
});
