import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Dataset, loadClip, loadDiffusion, type Image } from 'seedbed';
import { shippedClips } from '#lib/diffusion/clip-files.js';
import { shippedDiffusion } from '#lib/diffusion/load.js';
import { packageRoot } from '#lib/setup/find.js';
import { fill, worstStored, type Stored } from './formula.js';
import { golden } from './support.js';

interface Golden {
  unet: string;
  prompt: string;
  timestep: number;
  seed: number;
  steps: number;
  guidance: number;
  ids: number[];
  context: Stored;
  noise: Stored;
  generated: Stored;
  image: Stored;
}

const MOST_BYTES = 24e6;
const folder = join(packageRoot, 'models', 'seedling');

t.test('the model that comes with the package: small, and the same in diffusers', async (t) => {
  t.same(shippedDiffusion(), ['seedling']);
  const stored = golden('seedling') as Golden;
  const unet = join(folder, 'unet', 'diffusion_pytorch_model.safetensors');
  t.equal(createHash('sha256').update(readFileSync(unet)).digest('hex'), stored.unet, 'the golden file is of these weights; else run scripts/golden/seedling.py');
  const bytes = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0);
  t.ok(bytes <= MOST_BYTES, `${(bytes / 1e6).toFixed(1)} MB`);
  using sd = await loadDiffusion('seedling', { dtype: 'float32', device: 'cpu', threads: 1 });
  t.equal(sd.info.model, 'seedling');
  t.same(sd.tokenizer.encode(stored.prompt).ids, stored.ids);
  const near = (actual: { data: ArrayLike<number>; shape: readonly number[] }, expected: Stored, name: string, tolerance = { rtol: 1e-4, atol: 1e-4 }): void => {
    const ratio = worstStored(actual, expected, tolerance);
    t.ok(ratio <= 1, `${name} (${ratio.toFixed(3)})`);
  };
  const context = await sd.encodePrompt(stored.prompt);
  near(context, stored.context, 'text encoder');
  const { prompt, seed, steps, guidance: guidanceScale } = stored;
  const { latents, images } = await sd.generate({ prompt, seed, steps, guidanceScale });
  // Eight steps with guidance 3 multiply the networks' rounding.
  near(latents, stored.generated, 'latents', { rtol: 5e-4, atol: 5e-4 });
  const { data, width, height } = images[0] as Image;
  const planes = Float32Array.from({ length: data.length }, (_, i) => (data[(i % (width * height)) * 3 + Math.floor(i / (width * height))] ?? NaN) / 255);
  near({ data: planes, shape: [1, 3, height, width] }, stored.image, 'picture, but for rounding to bytes', { rtol: 0, atol: 0.5 / 255 + 2e-3 });
});

t.test('its settings are used unless others are given', async (t) => {
  using sd = await loadDiffusion('seedling', { dtype: 'float32', device: 'cpu', threads: 1 });
  t.match(sd.plan({ prompt: 'a cat' }), { steps: 25, width: 64, height: 64, settings: [{ guidanceScale: 2 }] });
  t.match(sd.plan({ prompt: 'a cat', steps: 4, guidanceScale: 1 }), { steps: 4, settings: [{ guidanceScale: 1 }] });
});

t.test('its dual encoder tells colours apart by words', async (t) => {
  t.same(shippedClips(), ['seedling']);
  using clip = await loadClip('seedling');
  t.ok(clip.info.logitScale > 1 && clip.info.logitScale <= 100, String(clip.info.logitScale));
  const classes = ['red', 'green', 'blue', 'yellow'];
  const colours = [[220, 30, 40], [40, 170, 60], [40, 70, 210], [250, 210, 40]];
  const grain = fill('input.grain', [64 * 64]);
  const painted = (colour: readonly number[]): Image => ({ data: Uint8Array.from({ length: 64 * 64 * 3 }, (_, i) => Math.max(0, Math.min(255, (colour[i % 3] ?? 0) + 4 * (grain[Math.floor(i / 3)] ?? 0)))), width: 64, height: 64, channels: 3 });
  using classifier = clip.classifier({ classes, template: 'a flat drawing of a cat on a {class} background' });
  const data = new Dataset({ name: 'colours', classes, entries: colours.map((colour, label) => ({ key: String(label), label, read: () => Promise.resolve(painted(colour)) })) });
  t.ok((await classifier.evaluate(data)).accuracy >= 0.75);
});
