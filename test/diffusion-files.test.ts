import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t from 'tap';
import { loadDiffusion, writeSafetensors, type Tensor } from 'seedbed';
import { toDiffusersConfig, type DiffusionConfig } from '#lib/diffusion/config.js';
import { recogniseSingleFile } from '#lib/diffusion/single-file.js';
import { runNative } from '#lib/job.js';
import { native, type DiffusionHandle } from '#lib/native.js';
import { fill, filled, formulaNets, storedModel, writeFormulaModel, writeFormulaPipeline, type StoredModel } from './formula.js';
import { golden, thrown } from './support.js';

/** [original name, its shape, first row there, parameter]. */
type Row = [string, number[], number, string];
interface Layout {
  map: Row[];
  unused: [string, number[]][];
}
type Weights = Record<string, Tensor>;

const { tiny } = golden('diffusion/single_file') as { tiny: Record<string, Layout> };
const layoutOf = (name: string): Layout => tiny[name] as Layout;

const elements = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** Parameters and their shapes as the original tensors give them: whole ones, joined thirds, and 1 x 1 convolutions that are matrices here. */
function parametersOf({ map }: Layout, matrices: boolean): [string, number[]][] {
  const shares = new Map<string, number>();
  for (const [source] of map) shares.set(source, (shares.get(source) ?? 0) + 1);
  return map.map(([source, shape, , name]) => {
    const [rows = 1, ...rest] = shape;
    const own = [rows / (shares.get(source) ?? 1), ...rest];
    return [name, matrices && /attentions\.0\.to_/.test(name) && own.length === 4 ? own.slice(0, 2) : own];
  });
}

/** The formula's weights under their original names. */
function originalWeights(layout: Layout, parameters: [string, number[]][]): Weights {
  const weights: Record<string, Tensor<'float32'>> = {};
  layout.map.forEach(([source, shape, first], i) => {
    const [name, own] = parameters[i] as [string, number[]];
    weights[source] ??= { data: new Float32Array(elements(shape)), shape, dtype: 'float32' };
    weights[source].data.set(fill(name, own), first * elements(shape.slice(1)));
  });
  for (const [name, shape] of layout.unused) weights[name] = filled(`input.${name}`, shape);
  return weights;
}

interface Family {
  parts: Record<'unet' | 'vae' | 'text', { layout: Layout; parameters: [string, number[]][] }>;
  weights: Weights;
}

function familyOf(name: 'sd1' | 'sd2'): Family {
  const part = (layout: Layout, matrices = false): { layout: Layout; parameters: [string, number[]][] } => ({ layout, parameters: parametersOf(layout, matrices) });
  const parts = { unet: part(layoutOf(`unet.${name}`)), vae: part(layoutOf('vae.sd'), true), text: part(layoutOf(`text.${name}`)) };
  return { parts, weights: Object.assign({}, ...Object.values(parts).map(({ layout, parameters }) => originalWeights(layout, parameters))) as Weights };
}

const families = { sd1: familyOf('sd1'), sd2: familyOf('sd2') };

/** What real files hold besides: copies of the training, and buffers. */
const LEFT_OVERS: Weights = {
  'model_ema.diffusion_modelinput_blocks00bias': filled('input.ema', [32]),
  'model_ema.num_updates': { data: Int32Array.of(7), shape: [], dtype: 'int32' },
  alphas_cumprod: { data: new Float64Array(1000), shape: [1000], dtype: 'float64' },
  betas: filled('input.betas', [1000]),
  'cond_stage_model.transformer.text_model.embeddings.position_ids': { data: BigInt64Array.from({ length: 77 }, (_, i) => BigInt(i)), shape: [1, 77], dtype: 'int64' },
};

const root = t.testdir();
writeFormulaPipeline(join(root, 'folder'), 'sd1');
const tokenizer = join(root, 'folder', 'tokenizer');

/** The folder that diffusers would make of a single file: the same weights, and the settings that were read off it. */
async function writeTwin(folder: string, single: string, { parts }: Family): Promise<string> {
  const { config, scheduler } = await recogniseSingleFile(single);
  for (const [path, json] of Object.entries(toDiffusersConfig(config, scheduler))) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), JSON.stringify(json));
  }
  const save = (part: keyof Family['parts'], file: string): void => writeSafetensors(join(folder, file), Object.fromEntries(parts[part].parameters.map(([name, shape]) => [name, filled(name, shape)])));
  save('unet', 'unet/diffusion_pytorch_model.safetensors');
  save('vae', 'vae/diffusion_pytorch_model.safetensors');
  save('text', 'text_encoder/model.safetensors');
  mkdirSync(join(folder, 'tokenizer'));
  for (const name of ['vocab.json', 'merges.txt', 'special_tokens_map.json', 'tokenizer_config.json']) writeFileSync(join(folder, 'tokenizer', name), readFileSync(join(tokenizer, name)));
  return folder;
}

const RUN = { prompt: 'a photo of a red cat', negativePrompt: 'dog', steps: 2, guidanceScale: 4, seed: 5, width: 32, height: 32 };

/** A digest of latents and picture: the test library takes seconds to compare thousands of numbers. */
async function madeBy(path: string, options: { tokenizer?: string; variant?: string } = {}): Promise<string> {
  using sd = await loadDiffusion(path, { dtype: 'float32', threads: 1, ...options });
  const { latents, images } = await sd.generate(RUN);
  const hash = createHash('sha256').update(latents.data);
  for (const { data } of images) hash.update(data);
  return hash.digest('hex');
}

/** The native load, one level below `loadDiffusion`, with settings of ours. */
function loadOriginal(config: DiffusionConfig, files: Record<'unet' | 'vae' | 'text', string>): Promise<DiffusionHandle> {
  const part = (name: 'unet' | 'vae' | 'textEncoder', path: string): Record<string, unknown> => ({ config: config[name], files: [path], originalLayout: true });
  const call = { unet: part('unet', files.unet), vae: part('vae', files.vae), textEncoder: part('textEncoder', files.text), dtype: 'float32', threads: 1 };
  return runNative((listener) => native().loadDiffusion(call, listener), new AbortController().signal);
}

const nameless = (text: string): string => text.replace(/.$/, (last) => (last === '~' ? '-' : '~'));

t.test('every tensor of a single file is needed, and none may be too many', { timeout: 120_000 }, async (t) => {
  for (const [name, { parts, weights }] of Object.entries(families)) {
    const whole = join(root, `${name}.safetensors`);
    writeSafetensors(whole, { ...weights, ...LEFT_OVERS });
    const { config, scheduler } = await recogniseSingleFile(whole);
    t.match(scheduler, { clip_sample: false }, 'as published; otherwise DDIM would clip latents like pixels');
    for (const [part, { layout }] of Object.entries(parts)) {
      const own = [...new Set(layout.map.map(([source]) => source))];
      const bytes = join(root, 'changed.safetensors');
      writeSafetensors(bytes, Object.fromEntries(own.map((source) => [source, weights[source] as Tensor])));
      const content = readFileSync(bytes);
      const length = Number(content.readBigUInt64LE());
      const header = content.toString('latin1', 8, 8 + length);
      const renaming = async (names: string[]): Promise<{ code: string | undefined; message: string }> => {
        const chosen = new Set(names);
        content.write(header.replace(/"([^"]+)":\{/g, (text, source: string) => (chosen.has(source) ? text.replace(source, nameless(source)) : text)), 8, 'latin1');
        writeFileSync(bytes, content);
        const { code, message } = await thrown(() => loadOriginal(config, { unet: whole, vae: whole, text: whole, [part]: bytes }));
        return { code, message };
      };
      const sorted = (names: string[]): string => names.toSorted().join(', ');
      t.match(await renaming(own), { code: 'ERR_WEIGHTS', message: new RegExp(`fit the model; ${own.length} missing: .*; ${own.length} unexpected: `) }, `${name}, ${part}: all ${own.length} names`);
      // A message names five of each.
      for (const begin of [0, Math.floor(own.length / 2), own.length - 5]) {
        const five = own.slice(begin, begin + 5);
        t.same(await renaming(five), { code: 'ERR_WEIGHTS', message: `The weights do not fit the model; 5 missing: ${sorted(five)}; 5 unexpected: ${sorted(five.map(nameless))}` });
      }
    }
  }
});

t.test('a single file without tokenizer, of another shape, or with joined matrices that are none', async (t) => {
  const path = join(root, 'sd1.safetensors');
  t.match(await thrown(() => loadDiffusion(path)), { code: 'ERR_FILE_NOT_FOUND', message: /Expected a tokenizer .*the option tokenizer/ });
  const changed = (family: Family, name: string, shape: number[]): string => {
    const file = join(root, 'reshaped.safetensors');
    writeSafetensors(file, { ...family.weights, [name]: filled('input.x', shape) });
    return file;
  };
  const cases: [Family, string, number[], RegExp][] = [
    [families.sd1, 'model.diffusion_model.time_embed.0.weight', [128, 33], /time_embed|time_embedding\.linear_1\.weight.*\[128, 33\]/],
    [families.sd1, 'first_stage_model.decoder.mid.attn_1.k.weight', [64, 64, 3, 3], /\[64, 64, 3, 3\]/],
    [families.sd1, 'first_stage_model.decoder.mid.attn_1.k.weight', [64, 32, 1, 1], /\[64, 32, 1, 1\]/],
    [families.sd2, 'cond_stage_model.model.transformer.resblocks.3.attn.in_proj_weight', [64, 32], /in_proj_weight has shape \[64, 32\]/],
    [families.sd2, 'cond_stage_model.model.transformer.resblocks.3.attn.in_proj_bias', [], /in_proj_bias has shape \[\]/],
  ];
  for (const [family, name, shape, message] of cases) t.match(await thrown(() => loadDiffusion(changed(family, name, shape), { tokenizer, threads: 1 })), { code: 'ERR_WEIGHTS', message }, `${name} [${shape.join(', ')}]`);
});

t.test('a single file makes what the folder of the same weights makes, to the last bit', async (t) => {
  for (const name of ['sd1', 'sd2'] as const) {
    const single = join(root, `${name}.safetensors`);
    t.equal(await madeBy(single, { tokenizer }), await madeBy(await writeTwin(join(root, `${name}-twin`), single, families[name])), name);
  }
  t.not(await madeBy(join(root, 'sd1-twin')), await madeBy(join(root, 'sd2-twin')));

  const old = Object.fromEntries(Object.entries({ ...families.sd1.weights, ...LEFT_OVERS }).map(([key, value]) => [key.replace('transformer.text_model.', 'transformer.'), value]));
  writeSafetensors(join(root, 'old-clip.safetensors'), old);
  t.equal(await madeBy(join(root, 'old-clip.safetensors'), { tokenizer }), await madeBy(join(root, 'sd1-twin')), 'names of the text encoder without text_model');
});

t.test('folders of other days hold the same model', async (t) => {
  const expected = await madeBy(join(root, 'folder'));
  const { vae, text, unet } = formulaNets('sd1');
  const older = new Map(layoutOf('vae.older').map.map(([source, , , name]) => [name, source]));
  t.equal(older.size, 16, 'weight and bias of four matrices on both sides');

  const write = (name: string): string => writeFormulaPipeline(join(root, name), 'sd1');
  const attention = write('old-vae');
  writeFormulaModel(join(attention, 'vae'), vae, (name) => older.get(name) ?? name);
  t.equal(await madeBy(attention), expected, "the autoencoder's attention under its older names");

  const convolutions = { ...vae, parameters: vae.parameters.map(([name, shape]): [string, readonly number[]] => [name, older.has(name) && shape.length === 2 ? [...shape, 1, 1] : shape]) };
  writeFormulaModel(join(attention, 'vae'), convolutions as StoredModel, (name) => older.get(name) ?? name);
  t.equal(await madeBy(attention), expected, 'and as 1 x 1 convolutions');

  const towers = write('towers');
  const ids: [string, Tensor] = ['text_model.embeddings.position_ids', LEFT_OVERS['cond_stage_model.transformer.text_model.embeddings.position_ids'] as Tensor];
  const weightsOf = ({ parameters }: StoredModel): [string, Tensor][] => parameters.map(([name, shape]) => [name, filled(name, shape)]);
  writeSafetensors(join(towers, 'text_encoder', text.file), Object.fromEntries([...weightsOf(text), ids]));
  t.equal(await madeBy(towers), expected, 'the text encoder with its position ids');
  writeSafetensors(join(towers, 'text_encoder', text.file), Object.fromEntries(weightsOf(text).map(([name, value]) => [name.replace('text_model.', ''), value])));
  t.equal(await madeBy(towers), expected, 'the text encoder as transformers 5.6 names it');

  const sharded = write('sharded');
  const all = weightsOf(unet);
  const shards = [all.slice(0, 100), all.slice(100)].map((entries, i) => [`diffusion_pytorch_model-0000${i + 1}-of-00002.safetensors`, entries] as const);
  for (const [file, entries] of shards) writeSafetensors(join(sharded, 'unet', file), Object.fromEntries(entries));
  writeFileSync(join(sharded, 'unet', `${unet.file}.index.json`), JSON.stringify({ weight_map: Object.fromEntries(shards.flatMap(([file, entries]) => entries.map(([name]) => [name, file]))) }));
  rmSync(join(sharded, 'unet', unet.file));
  t.equal(await madeBy(sharded), expected, 'the UNet in two shards');
  writeSafetensors(join(sharded, 'unet', shards[0]?.[0] as string), Object.fromEntries(all.slice(0, 101)));
  t.match(await thrown(() => loadDiffusion(sharded)), { code: 'ERR_WEIGHTS', message: /stands in two of the files/ });
});

t.test('weights stored in bfloat16 are read as they are', async (t) => {
  // The upper half of a float32 is a bfloat16; what is cut off must be missing from the twin as well.
  const cut = ({ data, shape }: Tensor<'float32'>): { bits: Tensor<'bfloat16'>; values: Tensor<'float32'> } => {
    const bits = Uint16Array.from(new Uint32Array(data.buffer, data.byteOffset, data.length), (value) => value >>> 16);
    return { bits: { data: bits, shape, dtype: 'bfloat16' }, values: { data: new Float32Array(Uint32Array.from(bits, (value) => value << 16).buffer), shape, dtype: 'float32' } };
  };
  const folders = { bits: writeFormulaPipeline(join(root, 'bits'), 'sd1'), values: writeFormulaPipeline(join(root, 'values'), 'sd1') };
  const { unet } = formulaNets('sd1');
  const halves = storedModel('unet', 'sd1').parameters.map(([name, shape]) => [name, cut(filled(name, shape))] as const);
  for (const kind of ['bits', 'values'] as const) {
    const file = kind === 'bits' ? unet.file.replace('.safetensors', '.bf16.safetensors') : unet.file;
    writeSafetensors(join(folders[kind], 'unet', file), Object.fromEntries(halves.map(([name, value]) => [name, value[kind]])));
  }
  const expected = await madeBy(folders.values);
  t.equal(await madeBy(folders.bits, { variant: 'bf16' }), expected);
  t.not(await madeBy(folders.bits), expected, 'without the variant, the plain weights');
});
