import fc from 'fast-check';
import t from 'tap';
import { fractals, type AffineMap } from 'seedbed';
import { refused } from './support.js';

/** Three halvings towards (0, 0), (1, 0) and (0, 1). */
const sierpinski = fractals.weigh([
  [[0.5, 0, 0], [0, 0.5, 0]],
  [[0.5, 0, 0.5], [0, 0.5, 0]],
  [[0.5, 0, 0], [0, 0.5, 0.5]],
]);
const plain = { palette: 'gray' as const, supersample: 1, margin: 0, tone: { type: 'gamma' as const, gamma: 1 } };

t.test('errors', async (t) => {
  await refused(t, [
    ['unknown option', () => fractals.picture(sierpinski, { pallete: 'ink' } as never), 'ERR_INVALID_ARGUMENT', /Unknown option 'pallete' for fractals\.picture; did you mean 'palette'\?/],
    ['too large', () => fractals.picture(sierpinski, { size: 8193 }), 'ERR_INVALID_ARGUMENT', /at most 8192 for size, received 8193/],
    ['unknown palette', () => fractals.picture(sierpinski, { palette: 'embers' as never }), 'ERR_INVALID_ARGUMENT', /for palette, received 'embers'/],
    ['no colour', () => fractals.picture(sierpinski, { palette: ['#000000', 'red'] }), 'ERR_INVALID_ARGUMENT', /a colour like #1b2233 for palette\.1, received 'red'/],
    ['one colour', () => fractals.picture(sierpinski, { palette: ['#000000'] }), 'ERR_INVALID_ARGUMENT', /length of at least 2 for palette/],
    ['unknown tone', () => fractals.picture(sierpinski, { tone: { type: 'linear' } as never }), 'ERR_INVALID_ARGUMENT', /tone/],
  ]);
});

t.test('a Sierpinski triangle of 2^k pixels has 3^k bright ones', async (t) => {
  for (const [size, bright] of [[32, 3 ** 5], [64, 3 ** 6], [128, 3 ** 7]] as const) {
    const { data, width, height, channels } = await fractals.picture(sierpinski, { ...plain, size, points: 2_000_000 });
    t.same([width, height, channels], [size, size, 3]);
    // All of its pixels are equally dense: size^2 / 3^k times the mean. Full density is what 98 % of 3^8 equal cells have at most, of 2^20 points:
    // 256^2 / 3^8 times the mean, and 2.05 standard deviations of a cell's count.
    const share = size ** 2 / bright / (256 ** 2 / 3 ** 8) / (1 + 2.05 / Math.sqrt(2 ** 20 / 3 ** 8));
    const red = (x: number, y: number): number => data[(y * size + x) * 3] ?? NaN;
    const lit = Array.from({ length: size ** 2 }, (_, i) => red(i % size, Math.floor(i / size)) > (255 * share) / 2);
    t.equal(lit.filter(Boolean).length, bright, `${size} pixels`);
    t.ok(lit.every((one, i) => one === ((i % size & (size - 1 - Math.floor(i / size))) === 0)), 'y points up: those whose coordinates share no binary digit');
    t.ok(Math.abs(red(0, size - 1) / 255 - share) < 0.03, `brightness ${red(0, size - 1) / 255}, expected ${share}`);
  }
});

t.test('a pixel has the mean brightness of its counters', async (t) => {
  const options = { ...plain, margin: 0.25, points: 200_000 };
  const [coarse, fine] = [await fractals.picture(sierpinski, { ...options, size: 32, supersample: 2 }), await fractals.picture(sierpinski, { ...options, size: 64 })];
  const red = (x: number, y: number): number => fine.data[(y * 64 + x) * 3] ?? NaN;
  const mean = (i: number): number => {
    const [x, y] = [2 * (i % 32), 2 * Math.floor(i / 32)];
    return (red(x, y) + red(x + 1, y) + red(x, y + 1) + red(x + 1, y + 1)) / 4;
  };
  // Each of the five is rounded to a whole level.
  t.ok(Array.from({ length: 32 ** 2 }, (_, i) => Math.abs((coarse.data[i * 3] ?? NaN) - mean(i))).every((difference) => difference <= 1.5));
});

t.test('the margin has the first colour of the palette', async (t) => {
  for (const [palette, colour] of [
    ['ember', [0x0b, 0x06, 0x08]],
    ['ink', [0xfb, 0xf8, 0xf1]],
    [['#102030', '#ffffff'], [0x10, 0x20, 0x30]],
  ] as const)
    t.same([...(await fractals.picture(sierpinski, { size: 64, palette: typeof palette === 'string' ? palette : [...palette] })).data.subarray(0, 3)], colour);
});

t.test('maps have colours: each draws its points half-way to its own', async (t) => {
  const { data } = await fractals.picture(sierpinski, { ...plain, size: 64, points: 1_000_000, colourBy: 'map', palette: ['#000000', '#ff0000', '#00ff00', '#0000ff'] });
  const quarter = (left: number, top: number): number[] => {
    const sums = [0, 0, 0];
    for (let y = 0; y < 32; y++) for (let x = 0; x < 32; x++) for (let c = 0; c < 3; c++) sums[c] = (sums[c] ?? 0) + (data[((top + y) * 64 + left + x) * 3 + c] ?? NaN);
    const total = sums.reduce((a, b) => a + b, 0);
    return sums.map((sum) => Math.round((10 * sum) / total));
  };
  // Hues of points that map j of 0, 1, 2 has moved last lie evenly around 1/4, 1/2, 3/4, at most 1/4 away: red to green, around green, green to blue.
  t.same(quarter(0, 32), [5, 5, 0], 'map 0, to (0, 0): below, left');
  t.same(quarter(0, 0), [0, 5, 5], 'map 2, to (0, 1): above, left');
  const [red = 0, green = 0, blue = 0] = quarter(32, 32);
  t.ok(green > red && red === blue && red > 0, `map 1, to (1, 0): ${red} ${green} ${blue}`);
});

t.test('the same bytes on any number of threads, in any number of parts', async (t) => {
  const ifs = fractals.sample({ maps: 3, sigmaFactor: 5, seed: 2 });
  const options = { size: 600, points: 300_000, seed: 11 };
  const whole = await fractals.picture(ifs, { ...options, threads: 1 });
  const same = (other: { data: Uint8Array }): boolean => Buffer.compare(other.data, whole.data) === 0;
  t.ok(same(await fractals.picture(ifs, { ...options, threads: 2 })), 'threads');
  let parts = 0;
  const job = fractals.picture(ifs, { ...options, threads: 1, memoryMb: 1 });
  for await (const { total } of job) parts = total;
  // A row of pixels is 2 rows of 1200 counters of 4 bytes: 109 rows in 1 MiB, 6 bands for 600 rows, 256 walks for each.
  t.equal(parts, 6 * 256);
  t.ok(same(await job), 'bands');
  t.notOk(same(await fractals.picture(ifs, { ...options, seed: 12 })), 'another seed');
  const [one, two] = [await fractals.picture(ifs, { ...options, colourBy: 'map', threads: 1 }), await fractals.picture(ifs, { ...options, colourBy: 'map', threads: 2, memoryMb: 2 })];
  t.equal(Buffer.compare(one.data, two.data), 0, 'colours of maps');
});

t.test('any finite system gives a picture', async (t) => {
  const number = fc.oneof(fc.double({ min: -3, max: 3, noNaN: true }), fc.double({ noNaN: true, noDefaultInfinity: true }));
  const map = fc.tuple(fc.tuple(number, number, number), fc.tuple(number, number, number)) as fc.Arbitrary<AffineMap>;
  const tone = fc.constantFrom({ type: 'log' as const }, { type: 'gamma' as const });
  await fc.assert(
    fc.asyncProperty(fc.array(map, { minLength: 1, maxLength: 16 }), tone, fc.constantFrom('keep' as const, 'stretch' as const), fc.constantFrom('density' as const, 'map' as const), async (affine, tone, aspect, colourBy) => {
      const options = { size: 16, points: 500, tone, aspect, colourBy };
      const ifs = { affine, weights: affine.map(() => 1 / affine.length) };
      const one = await fractals.picture(ifs, { ...options, threads: 1 });
      const two = await fractals.picture(ifs, { ...options, threads: 2 });
      return one.data.length === 16 * 16 * 3 && Buffer.compare(one.data, two.data) === 0;
    }),
    { numRuns: 15, seed: 3 },
  );
  t.pass();
});

t.test('a picture stops when it is told to', async (t) => {
  const controller = new AbortController();
  const job = fractals.picture(sierpinski, { size: 1024, points: 1_000_000_000, signal: controller.signal });
  setTimeout(() => controller.abort(new Error('enough')), 50);
  await t.rejects(Promise.resolve(job), /enough/);
});
