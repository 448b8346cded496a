import { createHash } from 'node:crypto';
import t from 'tap';
import sharp from 'sharp';
import { contactSheet, decodeImage, encodePng, scaleImage, type Image } from 'seedbed';
import { native } from '#lib/native.js';
import { golden, picture, thrown } from './support.js';

interface Golden {
  resize: { from: [number, number, number]; to: [number, number]; filter: string; sha256: string }[];
  ops: { from: [number, number, number]; cases: { op: string; magnitude: number; negative: boolean; sha256: string }[] };
}

const reference = golden('image') as Golden;
const digest = (image: Image): string => createHash('sha256').update(image.data).digest('hex');

t.test('resizing equals Pillow bit for bit', async (t) => {
  for (const { from, to, filter, sha256 } of reference.resize) {
    const resized = native().resizeImage({ image: picture(...from), width: to[0], height: to[1], filter });
    t.equal(digest(resized), sha256, `${from.join('x')} to ${to.join('x')}, ${filter}`);
  }
});

t.test('augmentation operations equal timm and Pillow bit for bit', async (t) => {
  const image = picture(...reference.ops.from);
  for (const { op, magnitude, negative, sha256 } of reference.ops.cases)
    t.equal(digest(native().applyAugmentOp({ image, op, magnitude, negative })), sha256, `${op} ${magnitude}${negative ? ' negative' : ''}`);
  t.equal(new Set(reference.ops.cases.map(({ op }) => op)).size, 15, 'all fifteen');
});

t.test('augmented views', async (t) => {
  const gray = { ...picture(40, 30, 1), data: picture(40, 30, 1).data.map((v) => (v > 127 ? 255 : 0)) };
  const plain = { minScale: 1, maxScale: 1, minRatio: 4 / 3, maxRatio: 4 / 3, flip: 0 };
  const view = (augment: object, seed = 1): Float32Array => native().augmentImage({ image: gray, size: 16, seed, augment: { ...plain, ...augment } }).data;
  const planes = (data: Float32Array): Float32Array[] => [0, 1, 2].map((c) => data.slice(c * 256, (c + 1) * 256));

  const [r, g, b] = planes(view({}));
  t.same(r, g, 'gray becomes three equal planes');
  t.same(g, b);
  t.ok(r?.every((v) => v >= -1 && v <= 1), 'normalised to [-1, 1]');

  const flipped = planes(view({ flip: 1 }))[0];
  t.same(flipped?.map((_, i) => r?.[Math.floor(i / 16) * 16 + 15 - (i % 16)] ?? NaN), flipped, 'flip turns rows around');

  const coloured = planes(view({ colourise: 1 }, 5));
  t.notSame(coloured[0], coloured[1], 'colours differ between channels');
  t.equal(new Set(view({ colourise: 1 }, 5)).size > 1, true);

  const erased = view({ randomErasing: { probability: 1 } });
  const changed = erased.filter((v, i) => v !== view({})[i]).length / erased.length;
  t.ok(changed > 0.01 && changed < 0.4, `random erasing changed ${changed.toFixed(2)} of the picture`);
  t.same(view({ randAugment: {} }, 3), view({ randAugment: {} }, 3), 'same seed, same bytes');
  t.notSame(view({ randAugment: { probability: 1 } }, 3), view({ randAugment: { probability: 1 } }, 4));
});

t.test('crops stay inside and follow their ranges', async (t) => {
  // A picture whose red channel is x and green is y: a view's corners tell which box was cut.
  const width = 64;
  const data = new Uint8Array(width * width * 3);
  for (let i = 0; i < width * width; i++) data.set([(i % width) * 4, Math.floor(i / width) * 4, 0], i * 3);
  const image = { data, width, height: width, channels: 3 };
  for (let seed = 0; seed < 200; seed++) {
    const view = native().augmentImage({ image, size: 8, seed, augment: { minScale: 0.25, maxScale: 0.5, flip: 0 } }).data;
    const pixel = (value: number): number => ((value + 1) / 2) * (255 / 4);
    const span = (pixel(view[7] ?? 0) - pixel(view[0] ?? 0)) * (8 / 7);
    const rise = (pixel(view[64 + 56] ?? 0) - pixel(view[64] ?? 0)) * (8 / 7);
    const area = (span * rise) / width ** 2;
    t.ok(area > 0.2 && area < 0.56, `seed ${seed}: a crop of ${area.toFixed(2)} of the area`);
  }
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
