import { existsSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { partsOf } from '#lib/diffusion/parts.js';
import { inspectLora, knownSites, loadDiffusion, readLora, trainLora, writeSafetensors, type Diffusion, type LoraWeights, type Tensor } from 'seedbed';
import { filled, formulaNets, storedModel, worstStored, writeFormulaPipeline, type Stored } from './formula.js';
import { dataFile, golden, picture, refused, worst } from './support.js';

interface Golden {
  embeddings: Record<string, number>;
  cases: Record<'sd1' | 'sd2', { prompt: string; ids: number[]; states: Stored }[]>;
}

const { embeddings, cases } = golden('diffusion/textual_inversion') as Golden;
const WIDTH = 32;
const root = t.testdir();
const folders = { sd1: writeFormulaPipeline(join(root, 'sd1'), 'sd1'), sd2: writeFormulaPipeline(join(root, 'sd2'), 'sd2') };
const load = (model: 'sd1' | 'sd2'): PromiseLike<Diffusion> => loadDiffusion(folders[model], { dtype: 'float32', device: 'cpu', threads: 1 });
const vectors = (token: string, count = embeddings[token] as number): Tensor<'float32'> => filled(`input.embedding.${token}`, [count, WIDTH]);
const only = (own: Record<string, Tensor>): LoraWeights => ({ unet: {}, textEncoder: {}, embeddings: own });

/** A file with these tensors. */
function stored(name: string, tensors: Record<string, Tensor>, metadata: Record<string, string> = {}): string {
  writeSafetensors(join(root, name), tensors, metadata);
  return join(root, name);
}

t.test('what does not fit is refused', async (t) => {
  using sd = await load('sd1');
  const add = (own: Record<string, Tensor>, tokens?: Record<string, string>) => () => sd.loras.add(only(own), { name: 'new', ...(tokens && { tokens }) });
  const one = vectors('<s1>');
  sd.loras.add(only({ '<there>': vectors('<s2>') }), { name: 'first' });
  const bad = { ...one, data: one.data.map((value, i) => (i === 5 ? NaN : value)) };
  await refused(t, [
    ['another width', add({ '<a>': filled('x', [1, 48]) }), 'ERR_WEIGHTS', /\[vectors, 32\].*'<a>'.*\[1, 48\]/],
    ['three dimensions', add({ '<a>': filled('x', [1, 1, 32]) }), 'ERR_WEIGHTS', /\[1, 1, 32\]/],
    ['no vectors', add({ '<a>': { data: new Float32Array(0), shape: [0, 32], dtype: 'float32' } }), 'ERR_WEIGHTS', /\[0, 32\]/],
    ['integers', add({ '<a>': { data: new BigInt64Array(32), shape: [32], dtype: 'int64' } }), 'ERR_WEIGHTS', /floating point/],
    ['NaN', add({ '<a>': bad }), 'ERR_NOT_FINITE', /<a>/],
    ['NaN in a file', () => sd.loras.add(stored('nan.safetensors', { '<a>': bad })), 'ERR_NOT_FINITE', /<a>/],
    ['a file for other widths', () => sd.loras.add(stored('wide.safetensors', { '<a>': filled('x', [1, 48]) })), 'ERR_WEIGHTS', /\[32\] or \[vectors, 32\] for the embedding '<a>'.*\[1, 48\]/],
    ['an embedding of another base', () => readLora(stored('base.safetensors', { '<a>': filled('x', [1, 1024]) }), knownSites('sd1')), 'ERR_WEIGHTS', /embedding of Stable Diffusion 2\.x \(width 1024\), the model is Stable Diffusion 1\.x/],
    ['a word of the tokenizer', add({ 'cat</w>': one }), 'ERR_INVALID_ARGUMENT', /'cat<\/w>', the tokenizer knows it.*tokens/],
    ['a letter', add({ a: one }), 'ERR_INVALID_ARGUMENT', /the tokenizer knows it/],
    ['the end', add({ '<|endoftext|>': one }), 'ERR_INVALID_ARGUMENT', /the tokenizer knows it/],
    ['nothing but space', add({ ' ': one }), 'ERR_INVALID_ARGUMENT', /empty/],
    ['a word of another adapter', add({ '<There>': one }), 'ERR_INVALID_ARGUMENT', /the LoRA 'first' has it already/],
    ['a further vector of another adapter', add({ '<new>': one, '<NEW>': one }), 'ERR_INVALID_ARGUMENT', /the same file has it twice/],
    ['another word for one that is not there', add({ '<a>': one }, { '<b>': '<c>' }), 'ERR_INVALID_ARGUMENT', /\(<a>\) for tokens, received '<b>'/],
    ['an embedding of XL', () => sd.loras.add(stored('xl.safetensors', { clip_l: one, clip_g: one })), 'ERR_FILE_FORMAT', /textual inversion of Stable Diffusion XL/],
    ['an id without an embedding', () => sd.components.textEncoder.encode({ data: BigInt64Array.of(533n), shape: [1, 1], dtype: 'int64' }), 'ERR_INVALID_ARGUMENT', /from 0 to 532/],
  ]);
  t.same(sd.loras.list().map(({ name, tokens }) => [name, tokens]), [['first', ['<there>']]]);
});

t.test('ids and states are diffusers’', async (t) => {
  for (const model of ['sd1', 'sd2'] as const) {
    using sd = await load(model);
    for (const token of Object.keys(embeddings)) sd.loras.add(only({ [token]: vectors(token) }), { name: token });
    const { tokenizer } = partsOf(sd);
    const placeholders = new Map<string, number[]>();
    let next = tokenizer.vocabSize;
    for (const [token, count] of Object.entries(embeddings)) {
      const ids = Array.from({ length: count }, () => next++);
      for (const [i, id] of ids.entries()) placeholders.set(i === 0 ? token : `${token}_${i}`, i === 0 ? ids : [id]);
    }
    for (const { prompt, ids, states } of cases[model]) {
      t.same(tokenizer.encode(prompt, placeholders).ids, ids, `${model}: ids of '${prompt.slice(0, 40)}'`);
      const distance = worstStored(await sd.encodePrompt(prompt), states, { rtol: 1e-5, atol: 1e-5 });
      t.ok(distance <= 1, `${model}: states of '${prompt.slice(0, 40)}' (${distance.toFixed(3)})`);
    }
    t.equal(tokenizer.encode(`${'cat '.repeat(74)}<s2>`, placeholders).truncated, '<s2>_1 <s2>_2', 'what is cut off is named');
  }
});

t.test('every way in: files of diffusers and A1111, beside layers, under other words', async (t) => {
  using sd = await load('sd1');
  const expected = new Map<number, Float32Array>();
  for (const count of [1, 3]) {
    sd.loras.add(only({ '<x>': vectors('<s2>', count) }), { name: 'x' });
    expected.set(count, (await sd.encodePrompt('a <x> cat')).data);
    sd.loras.remove('x');
  }
  const half: Tensor = { ...vectors('<s2>', 3), data: Float32Array.from(vectors('<s2>', 3).data, (value) => Math.round(value * 64) / 64) };
  const files: [file: string, tensors: Record<string, Tensor>, metadata: Record<string, string>, word: string][] = [
    ['learned_embeds.safetensors', { '<x>': vectors('<s2>', 3) }, {}, '<x>'],
    ['my-thing.safetensors', { emb_params: vectors('<s2>', 3) }, {}, 'my-thing'],
    ['named.safetensors', { 'string_to_param.*': vectors('<s2>', 3) }, { name: '<inside>' }, '<inside>'],
    ['vector.safetensors', { '<x>': { ...vectors('<s2>', 1), shape: [WIDTH] } }, {}, '<x>'],
  ];
  for (const [file, tensors, metadata, word] of files) {
    const info = sd.loras.add(stored(file, tensors, metadata));
    t.match(info, { tokens: [word], unetLayers: 0, textEncoderLayers: 0, name: file.replace('.safetensors', '') });
    t.same((await sd.encodePrompt(`a ${word} cat`)).data, expected.get(file.startsWith('vector') ? 1 : 3), file);
    sd.loras.remove(info.name);
  }
  t.match(inspectLora(stored('two.safetensors', { emb_params: filled('x', [3, 1024]) })), { format: 'textual-inversion', family: 'sd2', embeddings: { two: [3, 1024] }, unmatched: [] });
  const info = sd.loras.add(join(root, 'learned_embeds.safetensors'), { tokens: { '<x>': '<y>' } });
  t.same(info.tokens, ['<y>']);
  t.same((await sd.encodePrompt('a <y> cat')).data, expected.get(3));
  sd.loras.remove(info.name);
  sd.loras.add(only({ '<x>': half }), { name: 'x' });
  t.ok(worst((await sd.encodePrompt('a <x> cat')).data, expected.get(3) as Float32Array, { atol: 1e-3 }) > 1, 'other vectors, other states');
});

t.test('a call sees the words of the adapters that were active when it began; the model never changes', async (t) => {
  using sd = await load('sd1');
  const weights = sd.components.textEncoder.weights();
  const plain = (await sd.encodePrompt('a <s1> cat')).data;
  const states: Float32Array[] = [];
  for (const token of ['<s2>', 'zebra']) {
    sd.loras.add(only({ '<s1>': vectors(token, 2) }), { name: 'probe' });
    states.push((await sd.encodePrompt('a <s1> cat')).data);
    sd.loras.setScale('probe', 0);
    t.same((await sd.encodePrompt('a <s1> cat')).data, plain, 'left out at scale 0');
    sd.loras.remove('probe');
  }
  const calls = [0, 1, 1, 0, 1, 0].map((which) => {
    sd.loras.add(only({ '<s1>': vectors(which === 0 ? '<s2>' : 'zebra', 2) }), { name: 'probe' });
    const call = sd.encodePrompt('a <s1> cat');
    sd.loras.remove('probe');
    return call;
  });
  for (const [i, { data }] of (await Promise.all(calls)).entries()) t.same(data, states[[0, 1, 1, 0, 1, 0][i] as number], `call ${i}`);
  t.same((await sd.encodePrompt('a <s1> cat')).data, plain);
  t.same(sd.components.textEncoder.weights(), weights);
});

t.test('the end of a text is its end token, not a placeholder', async (t) => {
  using sd = await load('sd1');
  sd.loras.add(only({ '<s1>': vectors('<s1>') }), { name: 'one' });
  const ids = [528n, 530n, 320n, 529n, 529n];
  const { states, pooled } = await sd.components.textEncoder.encode({ data: BigInt64Array.from(ids), shape: [1, 5], dtype: 'int64' });
  t.same(pooled.data, states.data.subarray(3 * WIDTH, 4 * WIDTH));
});

t.test('training leaves active words alone', async (t) => {
  using sd = await load('sd1');
  const train = async (): Promise<number[]> => (await trainLora(sd, { images: [picture(32, 32, 3)], prompt: 'a <s1> cat', rank: 2, steps: 2, size: 32, threads: 1 })).training.losses;
  const before = await train();
  sd.loras.add(only({ '<s1>': vectors('<s1>') }), { name: 'one' });
  t.same(await train(), before);
});

for (const [name, tokens] of [['lora_disney', ['<s1>', '<s2>']], ['analog_svd_rank4', []]] as const) {
  const path = dataFile(`weights/${name}.safetensors`);
  t.test(`${name}: a published file's words`, { skip: !existsSync(path) && `there is no ${path}` }, async (t) => {
    t.same(Object.entries(inspectLora(path).embeddings), tokens.map((token) => [token, [768]]));
  });
}

t.test('the words of a published file act on a text encoder of its width', { skip: !existsSync(dataFile('weights/lora_disney.safetensors')) && 'there is no lora_disney.safetensors' }, async (t) => {
  // A text encoder of the published width, whose layers the file fits, in a small model: its UNet's layers are left out.
  const nets = formulaNets('sd1');
  const config = JSON.parse(nets.text.config) as Record<string, unknown>;
  const wide = { ...config, hidden_size: 768, intermediate_size: 64, num_attention_heads: 12 };
  const grown = nets.text.parameters.map(([parameter, shape]): [string, number[]] => [parameter, shape.map((size) => (size === WIDTH ? 768 : size))]);
  const unet = { ...nets.unet, config: JSON.stringify({ ...(JSON.parse(nets.unet.config) as object), cross_attention_dim: 768 }), parameters: nets.unet.parameters.map(([parameter, shape]): [string, number[]] => [parameter, /attn2\.to_[kv]/.test(parameter) ? [shape[0] as number, 768] : shape]) };
  const folder = writeFormulaPipeline(join(root, 'wide'), 'sd1', undefined, { ...nets, unet, vae: storedModel('vae', 'sd'), text: { ...nets.text, config: JSON.stringify(wide), parameters: grown } });
  using sd = await loadDiffusion(folder, { dtype: 'float32', device: 'cpu', threads: 1 });
  const before = (await sd.encodePrompt('a <s1> and <s2> cat')).data;
  const info = sd.loras.add(dataFile('weights/lora_disney.safetensors'), { strict: false });
  t.match(info, { tokens: ['<s1>', '<s2>'], textEncoderLayers: 12 });
  t.ok(worst((await sd.encodePrompt('a <s1> and <s2> cat')).data, before, { atol: 1e-2 }) > 1);
  t.ok(worst((await sd.encodePrompt('a <s2> cat')).data, (await sd.encodePrompt('a <s1> cat')).data, { atol: 1e-2 }) > 1, 'two words, two embeddings');
});
