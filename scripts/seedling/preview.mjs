// Pictures of a seedling in training, on one sheet.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { contactSheet, encodePng, exportDiffusion, loadDiffusion } from '../../dist/lib/index.js';
import { PIXELS } from './variations.mjs';

export const PROMPTS = [
  'a 3D render of a strawberry', 'a glossy cartoon of a strawberry', 'a flat drawing of a cat', 'a 3D render of a tiger', 'a blob emoji of a ghost', 'a grey photo of an ankle boot', 'a grey photo of a dress', 'a glossy cartoon of a house',
  'a 3D render of a rocket', 'a flat drawing of a banana on a blue background', 'a 3D render of a mushroom on the left', 'three cherries, 3D render', 'a glossy cartoon of a snail on a red background', 'a flat drawing of a key tilted to the left', 'a 3D render of an octopus', 'a glossy cartoon of a guitar',
];
const COLUMNS = 8;
const GAP = 2;
const GREY = 128;

/** Draws PROMPTS with the weights of a checkpoint as it stands. */
export async function preview(checkpoint, { vae, clip, out, threads }) {
  const scratch = mkdtempSync(join(tmpdir(), 'seedling-'));
  try {
    await exportDiffusion(checkpoint, { vae, clip, side: PIXELS, out: join(scratch, 'model') });
    const sd = await loadDiffusion(join(scratch, 'model'), { dtype: 'float32', device: 'cpu', ...(threads && { threads }) });
    const { images } = await sd.generate({ prompt: PROMPTS, steps: 25, guidanceScale: 3, seed: 1 });
    sd.dispose();
    writeFileSync(out, await encodePng(contactSheet(images, COLUMNS, GAP, GREY)));
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
