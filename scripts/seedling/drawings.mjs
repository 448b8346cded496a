// The art: each vendor's drawing of a concept, cut to what is drawn and fitted into a square of its own.

import { readdirSync, readFileSync } from 'node:fs';
import { join, parse } from 'node:path';
import sharp from 'sharp';
import { slug } from './concepts.mjs';
import { readJson } from './packages.mjs';

/** Pixels of a drawing's square, and of the empty frame inside it that keeps a wide filter from the border. */
export const DRAWING = 128;
const MARGIN = 2;
const VECTOR_PIXELS = 256;

/** Vendors disagree on where the variation selector is written. */
const bareCode = (code) => code.toLowerCase().replace(/-fe0f/g, '');

/** A picture of an Iconify set as SVG; undefined where the set has none of that name. */
function iconSvg(set, name) {
  const alias = set.aliases?.[name];
  const icon = set.icons[alias?.parent ?? name];
  if (icon === undefined) return undefined;
  const { left = 0, top = 0, width = set.width, height = set.height } = icon;
  const body = alias?.hFlip === true ? `<g transform="translate(${width + 2 * left} 0) scale(-1 1)">${icon.body}</g>` : icon.body;
  const scale = VECTOR_PIXELS / Math.max(width, height);
  return Buffer.from(
    `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="${width * scale}" height="${height * scale}" viewBox="${left} ${top} ${width} ${height}">${body}</svg>`,
  );
}

/** Names of today for those that a set without codes still has under an older one. */
const OLDER_NAMES = {
  bullseye: 'direct-hit',
  'face-with-crossed-out-eyes': 'dizzy-face',
  'red-exclamation-mark': 'exclamation-mark',
  'red-question-mark': 'question-mark',
  'smiling-face-with-open-hands': 'hugging-face',
  'enraged-face': 'pouting-face',
};
const byNameOf = (label) => OLDER_NAMES[slug(label)] ?? slug(label);

function iconify(packages, name, { byName }) {
  const folder = join(packages, '@iconify-json', name);
  const set = readJson(join(folder, 'icons.json'));
  const names = new Map(byName ? [] : Object.entries(readJson(join(folder, 'chars.json'))).map(([code, icon]) => [bareCode(code), icon]));
  return ({ label, hexcode }) => {
    const icon = byName ? byNameOf(label) : names.get(bareCode(hexcode));
    return icon === undefined ? undefined : iconSvg(set, icon);
  };
}

function files(folder) {
  const paths = new Map(readdirSync(folder).map((name) => [bareCode(parse(name).name), join(folder, name)]));
  return ({ hexcode }) => paths.get(bareCode(hexcode));
}

/** Style → where it is trained, how it is called, and a function from a concept to what sharp can open. */
export const VENDORS = {
  '3d': { open: (packages) => files(join(packages, '@lobehub/fluent-emoji-3d/assets')) },
  flat: { open: (packages) => iconify(packages, 'fluent-emoji-flat', { byName: false }) },
  noto: { open: (packages) => iconify(packages, 'noto', { byName: false }) },
  blob: { open: (packages) => iconify(packages, 'noto-v1', { byName: true }) }, // its chars.json is empty
  twemoji: { open: (packages) => files(join(packages, 'emoji-datasource-twitter/img/twitter/64')) },
};

/** The box of what is not transparent. */
function drawnBox({ data, info: { width, height } }) {
  let [left, top, right, bottom] = [width, height, -1, -1];
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      if (data[(y * width + x) * 4 + 3] < 8) continue;
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = Math.max(bottom, y);
    }
  return right < 0 ? undefined : { left, top, width: right - left + 1, height: bottom - top + 1 };
}

/** The drawing in the middle of a transparent square, its longer side filling it: RGBA bytes of DRAWING x DRAWING. */
export async function readDrawing(source) {
  const opened = sharp(typeof source === 'string' ? readFileSync(source) : source).ensureAlpha();
  const whole = await opened.toColourspace('srgb').raw().toBuffer({ resolveWithObject: true });
  const box = drawnBox(whole);
  if (box === undefined) return undefined;
  const { width, height, channels } = whole.info;
  const inner = DRAWING - 2 * MARGIN;
  return sharp(whole.data, { raw: { width, height, channels } })
    .extract(box)
    .resize(inner, inner, { fit: 'contain', background: '#00000000', kernel: 'lanczos3' })
    .extend({ top: MARGIN, bottom: MARGIN, left: MARGIN, right: MARGIN, background: '#00000000' })
    .raw()
    .toBuffer();
}
