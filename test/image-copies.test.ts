import t from 'tap';
import { fractals, trainClassifier, type Dataset, type Image } from 'seedbed';
import { picture, refused } from './support.js';

const imagesOf = async (data: Dataset): Promise<Image[]> => (await data.load()).map(({ image }) => image);

t.test('copies of a picture are classes that follow from their numbers', async (t) => {
  const source = picture(40, 36, 3, 5);
  const all = await fractals.imageCopies(source, { count: 6, size: 32, seed: 3 });
  t.same([all.length, all.classes.length, all.labels, all.role], [6, 6, [0, 1, 2, 3, 4, 5], 'train']);
  const images = await imagesOf(all);
  t.same([images[0]?.width, images[0]?.height, images[0]?.channels], [32, 32, 3]);
  t.equal(new Set(images.map(({ data }) => data.join())).size, 6, 'no two are alike');
  t.same(await imagesOf(await fractals.imageCopies(source, { count: 2, size: 32, seed: 3 })), images.slice(0, 2), 'whatever their count');
  t.notSame(await imagesOf(await fractals.imageCopies(source, { count: 6, size: 32, seed: 4 })), images);
  const still = await imagesOf(await fractals.imageCopies(picture(32, 32, 3, 5), { count: 3, size: 32, delta: 0 }));
  for (const image of still) t.same(image, picture(32, 32, 3, 5), 'with delta 0 the picture itself');
});

t.test('the middle of the picture moves as far as delta allows', async (t) => {
  const [size, delta] = [64, 0.4];
  const data = new Uint8Array(size * size);
  for (let y = 28; y < 36; y++) for (let x = 28; x < 36; x++) data[y * size + x] = 255;
  const copies = await imagesOf(await fractals.imageCopies({ data, width: size, height: size, channels: 1 }, { count: 200, size, delta }));
  const moved = copies.map((copy) => {
    const [sum, x, y] = copy.data.reduce(([s, sx, sy], value, i) => [s + value, sx + value * (i % size), sy + value * Math.floor(i / size)], [0, 0, 0] as [number, number, number]);
    return [x / sum - (size - 1) / 2, y / sum - (size - 1) / 2] as const;
  });
  // Output p shows input A p + t, so the middle goes to -A^-1 t: |t| <= delta / 2 of half a side in each direction, |A^-1| <= 1 / (1 - delta) in the largest norm.
  const most = (delta / 2) * (size / 2) / (1 - delta);
  for (const [x, y] of moved) t.ok(Math.max(Math.abs(x), Math.abs(y)) <= most + 0.5);
  for (const axis of [0, 1] as const) {
    const mean = moved.reduce((sum, one) => sum + one[axis], 0) / moved.length;
    const deviation = Math.sqrt(moved.reduce((sum, one) => sum + (one[axis] - mean) ** 2, 0) / moved.length);
    t.ok(Math.abs(mean) < 1, `no side is preferred: ${mean.toFixed(2)}`);
    t.ok(deviation > 0.8 * ((delta / 2) * (size / 2)) / Math.sqrt(3), `they spread as U(-delta / 2, delta / 2) does: ${deviation.toFixed(2)}`);
  }
});

t.test('edges in place of the picture; a network learns to tell copies apart', async (t) => {
  const data = await fractals.imageCopies(picture(12, 12, 1, 2), { count: 4, size: 32, edges: { sigma: 2, low: 0.02, high: 0.1 } });
  const [first] = await imagesOf(data);
  t.equal(first?.channels, 1);
  using classifier = await trainClassifier({ model: 'vit_micro_patch4_32', train: data, steps: 80, batchSize: 8, augment: { scale: [1, 1], flip: 0 }, threads: 1 });
  t.equal((await classifier.evaluate(data.as('validation'))).accuracy, 1);
});

t.test('bad input is refused', async (t) => {
  const copies = (options: object) => () => fractals.imageCopies(picture(20, 20, 3), options);
  await refused(t, [
    ['delta above 1', copies({ delta: 1.5 }), 'ERR_INVALID_ARGUMENT', /delta/],
    ['no copies', copies({ count: 0 }), 'ERR_INVALID_ARGUMENT', /count/],
    ['too small', copies({ size: 8 }), 'ERR_INVALID_ARGUMENT', /size/],
    ['thresholds the wrong way round', copies({ edges: { low: 0.5, high: 0.1 } }), 'ERR_INVALID_ARGUMENT', /low and high/],
    ['an unknown option', copies({ edge: true }), 'ERR_INVALID_ARGUMENT', /did you mean 'edges'/],
  ]);
});
