// A contact sheet of pictures from one set of the corpus, their captions printed in the same order.
//
//   node scripts/seedling/sheet.mjs --corpus FOLDER --out FILE.png [--set train] [--columns 16] [--rows 8] [--seed 0] [--where style=photo]

import { openSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import sharp from 'sharp';
import { randomOf, shuffle } from './random.mjs';
import { PICTURE_BYTES, PIXELS } from './variations.mjs';

const { values } = parseArgs({
  options: {
    corpus: { type: 'string' },
    out: { type: 'string' },
    set: { type: 'string', default: 'train' },
    columns: { type: 'string', default: '16' },
    rows: { type: 'string', default: '8' },
    seed: { type: 'string', default: '0' },
    where: { type: 'string' },
    scale: { type: 'string', default: '1' },
  },
});
if (values.corpus === undefined || values.out === undefined) throw new Error('Expected --corpus FOLDER and --out FILE.png');
const [columns, rows, scale] = [values.columns, values.rows, values.scale].map(Number);
const [field, wanted] = values.where?.split('=') ?? [];
const GAP = 2;

const folder = join(values.corpus, values.set);
const entries = readFileSync(join(folder, 'entries.jsonl'), 'utf8').trim().split('\n').map((line, index) => ({ ...JSON.parse(line), index }));
const suited = entries.filter((entry) => field === undefined || JSON.stringify(entry[field] ?? '').includes(wanted ?? ''));
const chosen = shuffle(randomOf(`sheet/${values.seed}`), suited).slice(0, columns * rows);

const file = openSync(join(folder, 'pictures.u8'), 'r');
const cell = PIXELS + GAP;
const tiles = chosen.map(({ index }, i) => {
  const input = Buffer.alloc(PICTURE_BYTES);
  readSync(file, input, 0, input.length, index * input.length);
  return { input, raw: { width: PIXELS, height: PIXELS, channels: 3 }, left: (i % columns) * cell, top: Math.floor(i / columns) * cell };
});
const sheet = await sharp({ create: { width: columns * cell, height: rows * cell, channels: 3, background: '#808080' } }).composite(tiles).png().toBuffer();
await sharp(sheet).resize(columns * cell * scale, rows * cell * scale, { kernel: 'nearest' }).png().toFile(values.out);
for (const [i, { captions }] of chosen.entries()) console.log(`${Math.floor(i / columns) + 1}.${(i % columns) + 1} ${captions.join(' | ')}`);
