import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { loadDiffusion, readSafetensors, writeSafetensors, type Tensor } from 'seedbed';
import { writeFormulaPipeline } from './formula.js';
import { refused } from './support.js';

const root = t.testdir();
const model = writeFormulaPipeline(join(root, 'model'), 'sd1');
const UNET = 'unet/diffusion_pytorch_model.safetensors';
const bytesOf = (folder: string, path = UNET): string => readFileSync(join(folder, path)).toString('base64');
const numbers = (tensor: Tensor | undefined): number[] => Array.from(tensor?.data as Float32Array | Int8Array);

async function saved(from: string, name: string, dtype: 'int8' | { unet: 'int8'; vae: 'float16' }): Promise<string> {
  const sd = await loadDiffusion(from, { dtype: 'float32', device: 'cpu', threads: 1 });
  await sd.save(join(root, name), { dtype });
  sd.dispose();
  return join(root, name);
}

t.test('int8 weights: rows within half a step of their scale, vectors as they were', async (t) => {
  const small = await saved(model, 'small', 'int8');
  const { tensors: before } = readSafetensors(join(model, UNET));
  const { tensors: after } = readSafetensors(join(small, UNET));
  for (const [name, value] of Object.entries(before)) {
    const stored = after[name];
    const scale = after[`${name}.scale`];
    if (value.shape.length < 2) {
      t.ok(stored?.dtype === 'float32' && scale === undefined && numbers(stored).every((x, i) => x === numbers(value)[i]), name);
      continue;
    }
    const [rows = 1] = value.shape;
    const [whole, steps, original] = [numbers(stored), numbers(scale), numbers(value)];
    const width = original.length / rows;
    const error = Math.max(...original.map((x, i) => Math.abs((whole[i] ?? NaN) * (steps[Math.floor(i / width)] ?? NaN) - x) / (steps[Math.floor(i / width)] ?? NaN)));
    t.ok(stored?.dtype === 'int8' && error <= 0.5001, `${name}: within ${error.toFixed(4)} of a step`);
    t.ok(steps.every((step, row) => Math.abs(step * 127 - Math.max(...original.slice(row * width, (row + 1) * width).map(Math.abs))) <= 1e-6 * step * 127), `${name}: the largest of a row is 127`);
  }
  const again = await saved(small, 'again', 'int8');
  t.ok(bytesOf(again) === bytesOf(small), 'saved again, the same bytes');
});

t.test('a model of int8 weights generates nearly the same; networks may differ', async (t) => {
  const mixed = await saved(model, 'mixed', { unet: 'int8', vae: 'float16' });
  t.equal(readSafetensors(join(mixed, 'vae/diffusion_pytorch_model.safetensors')).tensors['encoder.conv_in.weight']?.dtype, 'float16');
  t.equal(readSafetensors(join(mixed, 'text_encoder/model.safetensors')).tensors['text_model.final_layer_norm.weight']?.dtype, 'float32');
  const latents: number[][] = [];
  for (const folder of [model, mixed]) {
    const sd = await loadDiffusion(folder, { dtype: 'float32', device: 'cpu', threads: 1 });
    const out = await sd.generate({ prompt: 'a fox', steps: 3, seed: 1 });
    latents.push(numbers(out.latents));
    sd.dispose();
  }
  const [a = [], b = []] = latents;
  const size = (values: readonly number[]): number => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));
  const distance = size(a.map((x, i) => x - (b[i] ?? NaN))) / size(a);
  t.ok(distance > 0 && distance < 0.05, `latents differ by ${(100 * distance).toFixed(2)} %`);
});

t.test('scales that do not fit are refused', async (t) => {
  const small = await saved(model, 'broken', 'int8');
  const path = join(small, UNET);
  const { tensors } = readSafetensors(path);
  const load = (change: Record<string, Tensor | undefined>) => async (): Promise<void> => {
    const changed = Object.fromEntries(Object.entries({ ...tensors, ...change }).filter((entry): entry is [string, Tensor] => entry[1] !== undefined));
    writeSafetensors(path, changed);
    (await loadDiffusion(small, { device: 'cpu', threads: 1 })).dispose();
  };
  const ones: Tensor = { data: new Float32Array(3).fill(1), shape: [3], dtype: 'float32' };
  await refused(t, [
    ['no scale', load({ 'conv_in.weight.scale': undefined }), 'ERR_WEIGHTS', /int8 for 'conv_in\.weight' and a scale for each of its rows in 'conv_in\.weight\.scale'/],
    ['another length', load({ 'conv_in.weight.scale': ones }), 'ERR_WEIGHTS', /a scale for each of its rows/],
    ['a scale without its weight', load({ 'conv_in.weight': undefined }), 'ERR_WEIGHTS', /'conv_in\.weight' beside their scales/],
    ['a scale of other numbers', load({ 'conv_in.bias.scale': ones }), 'ERR_WEIGHTS', /int8 for 'conv_in\.bias'/],
  ]);
});
