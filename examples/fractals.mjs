// One fractal, its perturbed copies, a contact sheet and a dataset on disk.
//
//   node examples/fractals.mjs

import { writeFile } from 'node:fs/promises';
import { contactSheet, encodePng, fractals } from 'seedbed';

const options = { size: 256, points: 25_000, padding: 4 };
const job = fractals.family({ ...options, count: 24, seed: 4 });
for await (const { done, total } of job) console.log(`${done} of ${total} copies`);
const family = await job;
console.log('sigma-factor', fractals.describe(family.base).sigmaFactor);

const images = await fractals.render(family.copies, { ...options, value: 255, textureSeeds: [...family.textureSeeds] });
const sheet = contactSheet(family.copies.map((_, i) => fractals.image(images, i)), 8);
await writeFile('fractals.png', await encodePng(sheet));
await fractals.save('fractals.json', family);
