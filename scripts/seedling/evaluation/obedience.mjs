// What simple measures of a picture say about its background, the side its thing stands on, and how many things there are.

import { COLOURS, WHITE } from '../tables/colours.mjs';
import { PIXELS } from '../variations.mjs';

const RIM = 2; // pixels of the border that show the background
const FAR = 40; // distance in bytes of a pixel that is not background
const OFF_CENTRE = 4; // pixels of the centre of mass from the middle
const SMALLEST = 0.12; // of the largest component's area; smaller ones are not counted

const PALETTE = { ...COLOURS, white: WHITE };
const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);
const pixel = (picture, x, y) => [0, 1, 2].map((c) => picture[(y * PIXELS + x) * 3 + c]);

/** Median of each channel over the border. */
export function borderColour(picture) {
  const channels = [[], [], []];
  for (let y = 0; y < PIXELS; y++)
    for (let x = 0; x < PIXELS; x++) {
      if (Math.min(x, y, PIXELS - 1 - x, PIXELS - 1 - y) >= RIM) continue;
      for (const [c, value] of pixel(picture, x, y).entries()) channels[c].push(value);
    }
  return channels.map(median);
}

/** The name of the background's colour. */
export function backgroundOf(picture) {
  const colour = borderColour(picture);
  return Object.entries(PALETTE).sort(([, a], [, b]) => distance(a, colour) - distance(b, colour))[0][0];
}

/** 1 where a pixel differs from the background. */
function maskOf(picture) {
  const colour = borderColour(picture);
  const mask = new Uint8Array(PIXELS * PIXELS);
  for (let y = 0; y < PIXELS; y++) for (let x = 0; x < PIXELS; x++) mask[y * PIXELS + x] = distance(pixel(picture, x, y), colour) > FAR ? 1 : 0;
  return mask;
}

/** `left`, `right`, `top`, `bottom`, or `middle`: where the centre of mass of what is not background lies. */
export function sideOf(picture) {
  let [sum, right, down] = [0, 0, 0];
  for (const [i, value] of maskOf(picture).entries()) {
    sum += value;
    right += value * ((i % PIXELS) - (PIXELS - 1) / 2);
    down += value * (Math.floor(i / PIXELS) - (PIXELS - 1) / 2);
  }
  if (sum === 0) return 'middle';
  [right, down] = [right / sum, down / sum];
  if (Math.max(Math.abs(right), Math.abs(down)) < OFF_CENTRE) return 'middle';
  if (Math.abs(right) > Math.abs(down)) return right < 0 ? 'left' : 'right';
  return down < 0 ? 'top' : 'bottom';
}

/** Areas of connected parts (eight neighbours) that are not background. */
function components(picture) {
  const mask = maskOf(picture);
  const areas = [];
  for (let start = 0; start < mask.length; start++) {
    if (mask[start] === 0) continue;
    let area = 0;
    const open = [start];
    mask[start] = 0;
    while (open.length > 0) {
      const at = open.pop();
      area++;
      const [x, y] = [at % PIXELS, Math.floor(at / PIXELS)];
      for (let v = Math.max(0, y - 1); v <= Math.min(PIXELS - 1, y + 1); v++)
        for (let u = Math.max(0, x - 1); u <= Math.min(PIXELS - 1, x + 1); u++) {
          if (mask[v * PIXELS + u] === 0) continue;
          mask[v * PIXELS + u] = 0;
          open.push(v * PIXELS + u);
        }
    }
    areas.push(area);
  }
  return areas;
}

/** Connected parts of some size. */
export function countOf(picture) {
  const areas = components(picture);
  const largest = Math.max(0, ...areas);
  return areas.filter((area) => area >= SMALLEST * largest).length;
}

/** Kind → what is measured, and what an entry asks for. Side: the four with a word of their own. */
export const MEASURES = {
  background: { measure: backgroundOf, asked: (entry) => entry.background.names[0] },
  side: { measure: sideOf, asked: (entry) => entry.place },
  count: { measure: countOf, asked: (entry) => entry.count },
};
