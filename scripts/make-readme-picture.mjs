// The picture of the README, from a record of the demo: the fractal's copies, the few pictures learnt from, the answers.
//
//   npm run demo && node scripts/make-readme-picture.mjs seedbed-demo/record.json

import { readFileSync } from 'node:fs';
import sharp from 'sharp';

const OUT = new URL('../docs/demo.webp', import.meta.url);
const HEIGHT = 420;
const GAP = 24;

const { pictures } = JSON.parse(readFileSync(process.argv[2] ?? 'seedbed-demo/record.json', 'utf8'));
const decode = (uri) => Buffer.from(uri.slice(uri.indexOf(',') + 1), 'base64');
const panels = await Promise.all(
  [pictures.fractals, pictures.shots, pictures.answers].map((uri) => sharp(decode(uri)).resize({ height: HEIGHT }).png().toBuffer({ resolveWithObject: true })),
);
let left = 0;
const placed = panels.map(({ data, info }) => {
  const place = { input: data, left, top: 0 };
  left += info.width + GAP;
  return place;
});
await sharp({ create: { width: left - GAP, height: HEIGHT, channels: 3, background: '#ffffff' } })
  .composite(placed)
  .webp({ quality: 82 })
  .toFile(OUT.pathname);
