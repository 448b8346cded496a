import { createHash } from 'node:crypto';
import t from 'tap';
import sharp from 'sharp';
import { augmentImages, contactSheet, decodeImage, encodePng, fractals, scaleImage, type AugmentImagesOptions, type Image } from 'seedbed';
import { native } from '#lib/native.js';
import { golden, picture, refused, thrown } from './support.js';

interface Golden {
  resize: { from: [number, number, number]; to: [number, number]; filter: string; sha256: string }[];
  edges: { from: [number, number, number]; to: [number, number] | null; sigma: number; low: number; high: number; points: number; sha256: string }[];
  ops: { from: [number, number, number]; cases: { op: string; magnitude: number; negative: boolean; sha256: string }[] };
}

const reference = golden('image') as Golden;
const codes = native().vectorCodes();
const digest = (image: Image): string => createHash('sha256').update(image.data).digest('hex');

t.test('resizing equals Pillow bit for bit', async (t) => {
  for (const { from, to, filter, sha256 } of reference.resize) {
    for (const kernel of codes) {
      const resized = native().resizeImage({ image: picture(...from), width: to[0], height: to[1], filter, kernel });
      t.equal(digest(resized), sha256, `${from.join('x')} to ${to.join('x')}, ${filter}, ${kernel}`);
    }
  }
});

t.test("edges are those of scikit-image's Canny, pixel by pixel", async (t) => {
  for (const { from, to, sigma, low, high, points, sha256 } of reference.edges) {
    const image = to === null ? picture(...from) : native().resizeImage({ image: picture(...from), width: to[0], height: to[1], filter: 'bicubic' });
    const found = await fractals.edges(image, { sigma, low, high });
    t.same([found.channels, found.data.filter((value) => value === 255).length], [1, points]);
    t.equal(digest(found), sha256, `${from.join('x')} to ${to?.join('x')}, sigma ${sigma}, ${low} to ${high}`);
  }
  const flat = await fractals.edges({ data: new Uint8Array(16 * 16).fill(9), width: 16, height: 16, channels: 1 }, { low: 0, high: 0 });
  t.same(new Set(flat.data), new Set([0]), 'a flat picture has none');
  for (const [options, message] of [[{ sigma: 0 }, /sigma/], [{ sigma: 99 }, /sigma/], [{ low: 0.3, high: 0.2 }, /low and high/], [{ sigmas: 1 } as never, /sigma/]] as const)
    t.match((await thrown(() => fractals.edges(picture(9, 9, 1), options))).message, message);
});

t.test('augmentation operations equal timm and Pillow bit for bit', async (t) => {
  const image = picture(...reference.ops.from);
  for (const { op, magnitude, negative, sha256 } of reference.ops.cases)
    for (const kernel of codes) t.equal(digest(native().applyAugmentOp({ image, op, magnitude, negative, kernel })), sha256, `${op} ${magnitude}${negative ? ' negative' : ''}, ${kernel}`);
  t.equal(new Set(reference.ops.cases.map(({ op }) => op)).size, 15, 'all fifteen');
});

t.test('a gray picture is changed as each channel of a colour picture is, the same in every vector code, however small', (t) => {
  for (const [width, height] of [[33, 25], [224, 7], [5, 61], [17, 5], [2, 9], [7, 1], [1, 3], [1, 1]] as const) {
    const gray = picture(width, height, 1);
    const colour = { ...gray, channels: 3, data: Uint8Array.from({ length: gray.data.length * 3 }, (_, i) => gray.data[Math.floor(i / 3)] ?? 0) };
    for (const op of ['Rotate', 'ShearX', 'ShearY', 'TranslateXRel', 'TranslateYRel', 'SharpnessIncreasing', 'ColorIncreasing'])
      for (const magnitude of [0.3, 6.7, 10]) {
        const plain = native().applyAugmentOp({ image: colour, op, magnitude, kernel: 'portable' });
        for (const kernel of codes) {
          const moved = native().applyAugmentOp({ image: colour, op, magnitude, kernel });
          t.same(moved.data, plain.data, `${op} ${magnitude}, ${width} x ${height}, ${kernel} and portable`);
          t.same(native().applyAugmentOp({ image: gray, op, magnitude, kernel }).data, moved.data.filter((_, i) => i % 3 === 0), `${op} ${magnitude}, ${width} x ${height}, ${kernel}`);
        }
      }
  }
  t.end();
});

t.test('augmented views', async (t) => {
  const gray = { ...picture(40, 30, 1), data: picture(40, 30, 1).data.map((v) => (v > 127 ? 255 : 0)) };
  const plain = { scale: [1, 1], ratio: [4 / 3, 4 / 3], flip: 0 } as const;
  const view = async (augment: AugmentImagesOptions['augment'], seed = 1): Promise<Float32Array> => (await augmentImages([gray], { size: 16, seed, augment: { ...plain, ...augment } })).data;
  const planes = (data: Float32Array): Float32Array[] => [0, 1, 2].map((c) => data.slice(c * 256, (c + 1) * 256));

  const [r, g, b] = planes(await view({}));
  t.same(r, g, 'gray becomes three equal planes');
  t.same(g, b);
  t.ok(r?.every((v) => v >= -1 && v <= 1), 'normalised to [-1, 1]');

  const flipped = planes(await view({ flip: 1 }))[0];
  t.same(flipped?.map((_, i) => r?.[Math.floor(i / 16) * 16 + 15 - (i % 16)] ?? NaN), flipped, 'flip turns rows around');

  const upside = planes(await view({ flipVertical: 1 }))[0];
  t.same(upside, r?.map((_, i) => r[(15 - Math.floor(i / 16)) * 16 + (i % 16)] ?? NaN), 'flipVertical turns columns around');
  const whole16 = { ...gray, data: gray.data.slice(0, 256), width: 16, height: 16 };
  const asItIs = async (flip: number): Promise<Float32Array> => (await augmentImages([whole16], { size: 16, augment: { scale: [1, 1], ratio: [1, 1], flip } })).data.subarray(0, 256);
  t.same(await asItIs(1), (await asItIs(0)).map((_, i, all) => all[Math.floor(i / 16) * 16 + 15 - (i % 16)] ?? NaN), 'without a change of size, too');

  const coloured = planes(await view({ colourise: 1 }, 5));
  t.notSame(coloured[0], coloured[1], 'colours differ between channels');
  t.equal(new Set(await view({ colourise: 1 }, 5)).size > 1, true);

  const erased = await view({ randomErasing: { probability: 1 } });
  const whole = await view({});
  const changed = erased.filter((v, i) => v !== whole[i]).length / erased.length;
  t.ok(changed > 0.01 && changed < 0.4, `random erasing changed ${changed.toFixed(2)} of the picture`);
  t.same(await view({ randAugment: true }, 3), await view({ randAugment: true }, 3), 'same seed, same bytes');
  t.notSame(await view({ randAugment: { probability: 1 } }, 3), await view({ randAugment: { probability: 1 } }, 4));
});

t.test('crops stay inside and follow their ranges', async (t) => {
  // A picture whose red channel is x and green is y: a view's corners tell which box was cut.
  const width = 64;
  const data = new Uint8Array(width * width * 3);
  for (let i = 0; i < width * width; i++) data.set([(i % width) * 4, Math.floor(i / width) * 4, 0], i * 3);
  const image = { data, width, height: width, channels: 3 };
  const cut = (threads: number) => augmentImages(new Array<Image>(200).fill(image), { size: 8, augment: { scale: [0.25, 0.5], flip: 0 }, threads });
  const views = await cut(1);
  t.same(views.shape, [200, 3, 8, 8]);
  t.same((await cut(2)).data, views.data, 'any threads');
  const out = new Float32Array(views.data.length);
  const again = await augmentImages(new Array<Image>(200).fill(image), { size: 8, augment: { scale: [0.25, 0.5], flip: 0 }, out });
  t.equal(again.data, out, 'in memory of the caller');
  t.same(again, views);
  for (let i = 0; i < 200; i++) {
    const view = views.data.subarray(i * 192, (i + 1) * 192);
    const pixel = (value: number): number => ((value + 1) / 2) * (255 / 4);
    const span = (pixel(view[7] ?? 0) - pixel(view[0] ?? 0)) * (8 / 7);
    const rise = (pixel(view[64 + 56] ?? 0) - pixel(view[64] ?? 0)) * (8 / 7);
    const area = (span * rise) / width ** 2;
    t.ok(area > 0.2 && area < 0.56, `view ${i}: a crop of ${area.toFixed(2)} of the area`);
  }
});

t.test('views are refused what cannot be cut', async (t) => {
  const image = picture(8, 8, 3);
  await refused(t, [
    ['an unknown option', () => augmentImages([image], { sise: 8 } as never), 'ERR_INVALID_ARGUMENT', /did you mean 'size'/],
    ['a part larger than the picture', () => augmentImages([image], { augment: { scale: [0.5, 1.5] } }), 'ERR_INVALID_ARGUMENT', /augment\.scale/],
    ['no memory', () => augmentImages([image], { size: 8, out: new Float32Array(0) }), 'ERR_SHAPE', /received 0/],
    ['memory of another size', () => augmentImages([image], { size: 8, out: new Float32Array(191) }), 'ERR_SHAPE', /Expected 768 bytes for out/],
    ['two channels', () => augmentImages([{ ...image, channels: 2 }]), 'ERR_INVALID_ARGUMENT', /channels/],
  ]);
  t.same((await augmentImages([])).shape, [0, 3, 224, 224], 'none is none');
});

t.test('decoding', async (t) => {
  const gray = await sharp({ create: { width: 3, height: 2, channels: 3, background: '#808080' } }).toColourspace('b-w').png().toBuffer();
  const decoded = await decodeImage(gray, 'gray.png');
  t.same({ ...decoded, data: [...decoded.data] }, { width: 3, height: 2, channels: 3, data: new Array(18).fill(128) });
  const clear = await sharp({ create: { width: 1, height: 1, channels: 4, background: { r: 0, g: 0, b: 0, alpha: 0 } } }).webp({ lossless: true }).toBuffer();
  t.same([...(await decodeImage(clear, 'clear.webp')).data], [255, 255, 255], 'transparent becomes white');
  const jpeg = await sharp(picture(64, 64, 3).data, { raw: { width: 64, height: 64, channels: 3 } }).jpeg().toBuffer();
  for (const [name, bytes, message] of [
    ['empty.png', Buffer.alloc(0), /found 0 bytes/],
    ['text.png', Buffer.from('hello'), /cannot be decoded/],
    ['cut.jpg', jpeg.subarray(0, jpeg.length / 2), /cannot be decoded/],
  ] as const) {
    const error = await thrown(() => decodeImage(bytes, name));
    t.equal(error.code, 'ERR_IMAGE', name);
    t.match(error.message, message);
    t.match(error.message, new RegExp(name));
  }
});

t.test('encoding and sheets', async (t) => {
  for (const channels of [1, 3]) {
    const image = picture(9, 7, channels);
    const png = await encodePng(image);
    t.equal((await sharp(png).metadata()).channels, channels);
    const back = await sharp(png).toColourspace(channels === 1 ? 'b-w' : 'srgb').raw().toBuffer();
    t.same([...back], [...image.data]);
  }
  const sheet = contactSheet([picture(4, 4, 1, 0), picture(4, 4, 3, 1), picture(4, 4, 3, 2)], 2, 1, 7);
  t.equal(sheet.width, 11);
  t.equal(sheet.height, 11);
  t.same([...sheet.data.subarray(0, 3)], [7, 7, 7], 'the gap has the background');
  t.same([...sheet.data.subarray((11 + 1) * 3, (11 + 1) * 3 + 3)], [0, 0, 0], 'gray pictures become gray RGB');
  t.equal((await scaleImage(picture(8, 4, 3), 16)).height, 8);
  t.equal((await thrown(() => contactSheet([], 2))).code, 'ERR_INVALID_ARGUMENT');
});
