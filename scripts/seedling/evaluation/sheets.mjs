// Sheets of pictures with their prompts below, as PNG files.

import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import sharp from 'sharp';
import { PIXELS } from '../variations.mjs';

const GAP = 10;
const LINE = 13; // pixels of a line of text
const FONT = 10.5;
const LETTERS = 23; // of a line

const escaped = (text) => text.replace(/[&<>"]/g, (letter) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[letter]);

/** Words on lines of at most so many letters. */
function broken(text) {
  const lines = [''];
  for (const word of text.split(' ')) {
    const longer = `${lines.at(-1)} ${word}`.trim();
    if (longer.length <= LETTERS) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

/**
 * Writes cells in rows. A cell is `{ pictures, text }`: one picture or several, one below the other, each shown `scale` times as large by Lanczos' kernel,
 * and the text below all.
 */
export async function writeSheet(path, cells, columns, scale = 2) {
  const side = PIXELS * scale;
  const texts = cells.map(({ text }) => broken(text));
  const stacked = Math.max(...cells.map(({ pictures }) => pictures.length));
  const rows = Math.ceil(cells.length / columns);
  const lines = Array.from({ length: rows }, (_, row) => Math.max(...texts.slice(row * columns, (row + 1) * columns).map(({ length }) => length)));
  const tops = lines.reduce((list, count) => [...list, list.at(-1) + stacked * side + count * LINE + 2 * GAP], [GAP]);
  const width = columns * (side + GAP) + GAP;
  const height = tops.at(-1);
  const tiles = [];
  const labels = [];
  for (const [i, { pictures }] of cells.entries()) {
    const left = GAP + (i % columns) * (side + GAP);
    const top = tops[Math.floor(i / columns)];
    for (const [k, picture] of pictures.entries()) {
      const input = await sharp(picture, { raw: { width: PIXELS, height: PIXELS, channels: 3 } }).resize(side, side, { kernel: 'lanczos3' }).png().toBuffer();
      tiles.push({ input, left, top: top + k * side });
    }
    for (const [k, line] of texts[i].entries()) labels.push(`<text x="${left + side / 2}" y="${top + stacked * side + LINE * (k + 1)}">${escaped(line)}</text>`);
  }
  const text = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}"><g font-family="DejaVu Sans, sans-serif" font-size="${FONT}" text-anchor="middle" fill="#333">${labels.join('')}</g></svg>`;
  mkdirSync(dirname(path), { recursive: true });
  await sharp({ create: { width, height, channels: 3, background: '#f4f4f4' } })
    .composite([...tiles, { input: Buffer.from(text), left: 0, top: 0 }])
    .png({ palette: true, colours: 256, compressionLevel: 9 })
    .toFile(path);
}
