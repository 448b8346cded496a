// Pictures from a prompt, each with its settings in the PNG file, and a variation of the first.
//
//   node examples/generate.mjs org/name 'a red fox in the snow'

import { writeFile } from 'node:fs/promises';
import { encodePng, loadDiffusion, writeGenerationSettings } from 'seedbed';

const [model = 'model', prompt = 'a red fox in the snow'] = process.argv.slice(2);

const loading = loadDiffusion(model);
for await (const event of loading) if (event.type === 'fetch') console.log(`${event.file}: ${Math.round(event.done / 1e6)} of ${Math.round(event.total / 1e6)} MB`);
const sd = await loading;
console.log(sd.info);

const job = sd.generate({ prompt, negativePrompt: 'blurry', count: 2, steps: 30, seed: 7 });
for await (const event of job) {
  if (event.type === 'warning') console.warn(event.message);
  if (event.type === 'step') console.log(`step ${event.step} of ${event.steps}`);
}
const { images, seeds, settings } = await job;
for (const [i, image] of images.entries()) await writeFile(`${seeds[i]}.png`, writeGenerationSettings(await encodePng(image), settings[i]));

// The first picture again in winter: 60 % of the steps are taken on it.
const winter = await sd.generate({ prompt: `${prompt}, winter, heavy snow`, image: images[0], strength: 0.6, steps: 30, seed: 7 });
await writeFile('winter.png', writeGenerationSettings(await encodePng(winter.images[0]), winter.settings[0]));

sd.dispose();
