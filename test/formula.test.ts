import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { readSafetensors } from 'seedbed';
import { fill, integers, storedModel, worstStored, writeFormulaModel, writeFormulaPipeline } from './formula.js';
import { golden } from './support.js';

interface Golden {
  filled: { name: string; shape: number[]; values: number[] }[];
  late: { name: string; shape: number[]; from: number; values: number[] };
  integers: number[];
}

t.test('the formula gives the numbers that Python gives', (t) => {
  const { filled, late, integers: ids } = golden('diffusion/formula') as Golden;
  for (const { name, shape, values } of filled) t.same([...fill(name, shape)], values, name);
  t.same([...fill(late.name, late.shape).subarray(late.from)], late.values, 'far into a tensor');
  t.same(integers('input.ids', [3, 4], 530), ids);
  t.end();
});

t.test('a model is written as a folder', async (t) => {
  const small = storedModel('vae', 'small');
  const folder = writeFormulaModel(join(t.testdir(), 'vae'), small);
  t.equal((JSON.parse(await readFile(join(folder, 'config.json'), 'utf8')) as Record<string, unknown>)['_class_name'], 'AutoencoderKL');
  const { tensors } = readSafetensors(join(folder, 'diffusion_pytorch_model.safetensors'));
  t.same(
    Object.entries(tensors).map(([name, { shape }]) => [name, shape]),
    small.parameters,
  );
  t.same(tensors['decoder.conv_in.weight']?.data, fill('decoder.conv_in.weight', [32, 4, 3, 3]));
});

t.test('a pipeline is written as a folder', async (t) => {
  const folder = writeFormulaPipeline(join(t.testdir(), 'sd2'), 'sd2');
  const json = async (path: string): Promise<Record<string, unknown>> => JSON.parse(await readFile(join(folder, path), 'utf8')) as Record<string, unknown>;
  t.same((await json('model_index.json'))['unet'], ['diffusers', 'UNet2DConditionModel']);
  t.equal((await json('scheduler/scheduler_config.json'))['prediction_type'], 'v_prediction');
  t.equal((await json('tokenizer/vocab.json'))['<|endoftext|>'], 529);
  t.match(await readFile(join(folder, 'tokenizer', 'merges.txt'), 'utf8'), /^#version: 0\.2\nc a\nca t<\/w>\n/);
  t.same(readSafetensors(join(folder, 'text_encoder', 'model.safetensors')).tensors['text_model.final_layer_norm.bias']?.shape, [32]);
});

t.test('a stored tensor is compared at its steps', (t) => {
  const stored = { shape: [2, 3], step: 2, values: [1, 3, 5] };
  const data = [1, NaN, 3, NaN, 5, NaN];
  t.equal(worstStored({ data, shape: [2, 3] }, stored), 0);
  t.ok(worstStored({ data: [1, 0, 3.1, 0, 5, 0], shape: [2, 3] }, stored) > 1);
  t.equal(worstStored({ data, shape: [3, 2] }, stored), Infinity);
  t.end();
});
