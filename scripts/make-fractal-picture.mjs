// Draws docs/images/fractal-family.webp: a row for each set of the family, and pictures of systems to be looked at. Built package needed.
//
//   node scripts/make-fractal-picture.mjs

import { join } from 'node:path';
import sharp from 'sharp';
import { contactSheet, fractals, OFDB_RENDER, scaleImage } from 'seedbed';
import { root } from './bootstrap.mjs';

const COLUMNS = 6;
const SIDE = 240;

const gray = async (images) => Promise.all(Array.from({ length: COLUMNS }, (_, i) => scaleImage(fractals.image(images, i), SIDE)));
const rgb = (image) => (image.channels === 3 ? image : { ...image, channels: 3, data: Uint8Array.from({ length: image.data.length * 3 }, (_, i) => image.data[Math.floor(i / 3)]) });

const family = await fractals.family({ count: COLUMNS, seed: 3 });
const copies = await gray(await fractals.render(family.copies, { value: 255, textureSeeds: [...family.textureSeeds] }));

const { systems } = await fractals.search({ count: COLUMNS, seed: 7 });
const set = fractals.ofdb(systems);
const ofdb = await gray(await fractals.render(set.map((one) => one.ifs), { ...OFDB_RENDER, value: 255, textureSeeds: set.map((one) => one.textureSeed) }));

const contours = async (name) => gray(await fractals.contours(fractals.contourClasses({ set: name, count: COLUMNS, seed: 5 })));
const shown = async (options) => {
  const pictures = [];
  for (const [i, palette] of ['ember', 'lagoon', 'aurora', 'moss', 'ember', 'lagoon'].entries()) pictures.push(await fractals.picture(systems[i], { size: SIDE, points: 4_000_000, palette, ...options }));
  return pictures;
};

const rows = [copies, ofdb, await contours('rcdb'), await contours('visualatom'), await shown({}), await shown({ colourBy: 'map' })];
const sheet = contactSheet(rows.flat().map(rgb), COLUMNS, 4, 128);
await sharp(sheet.data, { raw: { width: sheet.width, height: sheet.height, channels: 3 } }).webp({ quality: 82 }).toFile(join(root, 'docs', 'images', 'fractal-family.webp'));
