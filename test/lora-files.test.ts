import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { packageRoot } from '#lib/setup/find.js';
import { parseClipTextConfig, parseUnetConfig } from '#lib/diffusion/config.js';
import { originalLayout, originalName } from '#lib/lora/formats.js';
import { castTensor } from '#lib/lora/numbers.js';
import { convertLora, inspectLora, knownSites, readLora, readSafetensors, textSites, unetSites, writeLora, writeSafetensors } from 'seedbed';
import type { LoraFactors, LoraSite, LoraSites, LoraWeights, Tensor, WriteLoraOptions } from 'seedbed';
import { seedbed } from './command.js';
import { storedModel } from './formula.js';
import { dataFile, golden, ramp, refused, run, thrown } from './support.js';

interface Digest {
  count: number;
  sha256: string;
}

/** test/golden/lora_files.json. */
interface Golden {
  tiny: Record<'sd1' | 'sd2' | 'small', Digest>;
  published: Record<'sd1' | 'sd2', { unet: Digest; text: Digest }>;
  keys: { diffusers: string[]; diffusersPeft: Record<string, number[]>; kohya: string[]; diffusersOld: string[] };
  scales: Record<string, { config: string; layers: [string, number, number][]; keys: string[] }>;
  adapterMetadata: Record<string, string>;
  casts: { float32: number[]; float16: number[]; bfloat16: number[] };
}

const reference = golden('lora_files') as Golden;
const root = t.testdir();
const file = (name: string): string => join(root, name);

const unetOf = (name: string): LoraSite[] => unetSites(parseUnetConfig(JSON.parse(storedModel('unet', name).config), name));
const textOf = (name: string): LoraSite[] => textSites(parseClipTextConfig(JSON.parse(storedModel('text', name).config), name));
/** The nets of the golden file: its UNet has three-fold kernels, 1 x 1 kernels and matrices. */
const small: LoraSites = { unet: unetOf('small'), textEncoder: textOf('sd1') };

const product = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
const isAttention = ({ name }: LoraSite): boolean => /attn/.test(name);
const sha256 = (lines: readonly string[]): string => createHash('sha256').update(lines.join('\n')).digest('hex');
const digest = (sites: readonly LoraSite[]): Digest => ({ count: sites.length, sha256: sha256(sites.map(({ name, shape }) => `${name} ${shape.join(',')}`)) });

interface Formula {
  rank?: number;
  alpha?: number;
  scale?: number;
  dtype?: 'float32' | 'float16' | 'bfloat16';
}

/** Factors of a formula for some of the layers. */
function factors(sites: readonly LoraSite[], { rank = 2, alpha = rank, scale = alpha / rank, dtype = 'float32' }: Formula = {}): Record<string, LoraFactors> {
  return Object.fromEntries(
    sites.map(({ name, shape: [out = 0, ...inner] }, i) => [
      name,
      { down: castTensor(ramp(i, [rank, ...inner]), dtype, name), up: castTensor(ramp(i + 500, [out, rank]), dtype, name), alpha, scale },
    ]),
  );
}

const weightsOf = (sites: LoraSites, options: Formula = {}, pick: (site: LoraSite) => boolean = () => true): LoraWeights => ({
  unet: factors(sites.unet.filter(pick), options),
  textEncoder: factors(sites.textEncoder.filter(pick), options),
  embeddings: {},
});

/** The bytes of everything in an adapter, for comparisons that take no seconds. */
const bytesOf = ({ unet, textEncoder, embeddings }: LoraWeights): string[] => {
  const tensor = ({ data, shape, dtype }: Tensor): string => `${dtype} [${shape.join()}] ${createHash('sha256').update(Buffer.from(data.buffer, data.byteOffset, data.byteLength)).digest('hex')}`;
  const layer = ([name, f]: [string, LoraFactors]): string => `${name} ${tensor(f.down)} ${tensor(f.up)} ${f.alpha} ${f.scale}`;
  return [...Object.entries(unet).map(layer), ...Object.entries(textEncoder).map(layer), ...Object.entries(embeddings).map(([token, value]) => `${token} ${tensor(value)}`)].sort();
};

const f32 = (shape: number[], value = 0.5): Tensor<'float32'> => ({ data: new Float32Array(product(shape)).fill(value), shape, dtype: 'float32' });
const Q = 'lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q';
const K2 = 'lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k';
/** A kohya file of one layer of the small UNet, whose weight is [64, 64]; `change` spoils it. */
const oneLayer = (change: Record<string, Tensor | undefined> = {}): Record<string, Tensor> =>
  Object.fromEntries(Object.entries<Tensor | undefined>({ [`${Q}.lora_down.weight`]: f32([2, 64]), [`${Q}.lora_up.weight`]: f32([64, 2]), ...change }).filter((entry): entry is [string, Tensor] => entry[1] !== undefined));

let files = 0;
function stored(tensors: Record<string, Tensor>, metadata?: Record<string, string>): string {
  const path = file(`${files++}.safetensors`);
  writeSafetensors(path, tensors, metadata);
  return path;
}

/** A folder of PEFT's with one layer of rank 2. */
function peftFolder(config: object | string | undefined, tensors: Record<string, Tensor> | null = { [`${PEFT_Q}.lora_A.weight`]: f32([2, 64]), [`${PEFT_Q}.lora_B.weight`]: f32([64, 2]) }): string {
  const folder = file(`peft-${files++}`);
  mkdirSync(folder);
  if (tensors !== null) writeSafetensors(join(folder, 'adapter_model.safetensors'), tensors);
  if (config !== undefined) writeFileSync(join(folder, 'adapter_config.json'), typeof config === 'string' ? config : JSON.stringify(config));
  return folder;
}
const PEFT_Q = 'base_model.model.mid_block.attentions.0.transformer_blocks.0.attn1.to_q';

t.test('files that are no LoRA of ours are named', async (t) => {
  const folder = (name: string, content: Record<string, string> = {}): string => {
    mkdirSync(file(name));
    for (const [path, text] of Object.entries(content)) writeFileSync(file(join(name, path)), text);
    return file(name);
  };
  const text = (content: string | Buffer, name = `${files++}.safetensors`): string => (writeFileSync(file(name), content), file(name));
  const read = (path: string, sites: LoraSites = small) => (): unknown => readLora(path, sites);
  const adapter = (key: string): (() => unknown) => read(stored({ ...oneLayer(), [key]: f32([2, 2]) }));
  const header = Buffer.from(JSON.stringify({ a: { dtype: 'F32', shape: [2 ** 40], data_offsets: [0, 2 ** 42] } }));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  await refused(t, [
    ['no path', () => readLora('', small), 'ERR_INVALID_ARGUMENT', /path of a file or a folder/],
    ['an unknown option', () => readLora('x', small, { stirct: false } as never), 'ERR_INVALID_ARGUMENT', /did you mean 'strict'/],
    ['nothing there', read(file('none.safetensors')), 'ERR_FILE_NOT_FOUND', /none\.safetensors/],
    ['an empty folder', read(folder('empty')), 'ERR_FILE_NOT_FOUND', /adapter_model\.safetensors with adapter_config\.json, or pytorch_lora_weights\.safetensors, in '.*empty', found nothing/],
    ['a folder of something else', read(folder('other', { 'a.txt': '', 'b.txt': '' })), 'ERR_FILE_NOT_FOUND', /found 2 other entries; give the path of the file itself/],
    ['a folder with a pickle', read(folder('pickled', { 'adapter_model.bin': 'PK' })), 'ERR_FILE_FORMAT', /only adapter_model\.bin: a pickle/],
    ['a pickle', read(text('PK', 'x.pt')), 'ERR_FILE_FORMAT', /x\.pt': a pickle/],
    ['a pickle under another name', read(text('PK\x03\x04 and more')), 'ERR_FILE_FORMAT', /found a pickle/],
    ['an empty file', read(text('')), 'ERR_FILE_FORMAT', /found an empty file/],
    ['an LFS pointer', read(text('version https://git-lfs.github.com/spec/v1\noid sha256:0')), 'ERR_FILE_FORMAT', /Git LFS pointer/],
    ['a web page', read(text('<!doctype html>')), 'ERR_FILE_FORMAT', /a web page/],
    ['no tensors', read(stored({})), 'ERR_FILE_FORMAT', /a file without tensors/],
    ['a header that claims terabytes', read(text(Buffer.concat([length, header]))), 'ERR_FILE_FORMAT', /at most 4 GB in .* names 4398\.0 GB/],
    ['other tensors', read(stored({ weight: f32([1]), bias: f32([1]) })), 'ERR_FILE_FORMAT', /2 tensors of something else, the first 'bias'/],
    ['a whole model', read(stored({ 'model.diffusion_model.out.0.weight': f32([1]) })), 'ERR_FILE_FORMAT', /found a whole model/],
    ['a net of a model', read(stored({ 'conv_in.weight': f32([1]) })), 'ERR_FILE_FORMAT', /found one net of a model/],
    ['a textual inversion of XL', read(stored({ clip_l: f32([1, 768]), clip_g: f32([1, 1280]) })), 'ERR_FILE_FORMAT', /textual inversion of Stable Diffusion XL/],
    ['a textual inversion of another width', read(stored({ emb_params: f32([1, 48]) })), 'ERR_WEIGHTS', /\[32\] or \[vectors, 32\].*found \[1, 48\]/],
    ['DoRA', adapter(`${Q}.dora_scale`), 'ERR_FILE_FORMAT', /of the kind DoRA; seedbed reads LoRA/],
    ['DoRA of PEFT', adapter('unet.mid_block.attentions.0.proj_in.lora_magnitude_vector'), 'ERR_FILE_FORMAT', /kind DoRA/],
    ['LoHa', adapter(`${Q}.hada_w1_a`), 'ERR_FILE_FORMAT', /kind LoHa/],
    ['LoKr', adapter(`${Q}.lokr_w1`), 'ERR_FILE_FORMAT', /kind LoKr/],
    ['GLoRA', adapter(`${Q}.a1.weight`), 'ERR_FILE_FORMAT', /kind GLoRA/],
    ['IA3', adapter(`${Q}.on_input`), 'ERR_FILE_FORMAT', /kind IA3/],
    ['OFT', adapter(`${Q}.oft_blocks`), 'ERR_FILE_FORMAT', /kind OFT/],
    ['a full difference', adapter(`${Q}.diff_b`), 'ERR_FILE_FORMAT', /kind full difference of weights/],
    ['Tucker', adapter(`${Q}.lora_mid.weight`), 'ERR_FILE_FORMAT', /Tucker/],
    ['biases', adapter('unet.conv_in.lora_B.bias'), 'ERR_FILE_FORMAT', /LoRA with biases/],
    ['SDXL by its second text encoder', adapter('lora_te2_text_model_encoder_layers_0_mlp_fc1.alpha'), 'ERR_FILE_FORMAT', /LoRA of Stable Diffusion XL; seedbed reads those of Stable Diffusion 1\.x and 2\.x/],
    ['SDXL by its depth', adapter('lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q.alpha'), 'ERR_FILE_FORMAT', /Stable Diffusion XL/],
    ['Flux', adapter('lora_unet_double_blocks_0_img_attn_proj.alpha'), 'ERR_FILE_FORMAT', /a transformer model \(Flux/],
    ['Stable Diffusion 3', adapter('transformer.transformer_blocks.7.attn.to_q.lora_A.weight'), 'ERR_FILE_FORMAT', /a transformer model/],
    ['a list that counts convolutions', read(stored({ 'unet:0:down': f32([1, 64]), 'unet:0:up': f32([64, 1]) }, { unet: '["ResnetBlock2D"]' })), 'ERR_FILE_FORMAT', /found 'ResnetBlock2D' among them/],
    ['SDXL by its width', read(stored({ [`${K2}.lora_down.weight`]: f32([2, 2048]), [`${K2}.lora_up.weight`]: f32([64, 2]) }), knownSites('sd1')), 'ERR_WEIGHTS', /LoRA of Stable Diffusion XL \(prompts of width 2048\), the model is Stable Diffusion 1\.x \(prompts of width 768\)/],
    ['PEFT without its configuration', read(peftFolder(undefined)), 'ERR_FILE_NOT_FOUND', /adapter_config\.json beside/],
    ['PEFT without weights', read(peftFolder({ r: 2 }, null)), 'ERR_FILE_NOT_FOUND', /adapter_model\.safetensors' beside its adapter_config\.json/],
    ['PEFT with a damaged configuration', read(peftFolder('{')), 'ERR_FILE_FORMAT', /Expected JSON in '.*adapter_config\.json'/],
    ['PEFT with alpha and no rank, which is then 8', read(peftFolder({ lora_alpha: 4 })), 'ERR_WEIGHTS', /Expected rank 8 for .*found 2/],
    ['PEFT of rank 0', read(peftFolder({ r: 0 })), 'ERR_FILE_FORMAT', /field 'r'/],
    ['PEFT of another rank', read(peftFolder({ r: 4, lora_alpha: 4 })), 'ERR_WEIGHTS', /Expected rank 4 for 'mid_block.*adapter_config\.json' says, found 2/],
    ['PEFT of another kind', read(peftFolder({ peft_type: 'IA3' })), 'ERR_FILE_FORMAT', /PEFT's kind IA3/],
    ['PEFT with DoRA', read(peftFolder({ r: 2, use_dora: true })), 'ERR_FILE_FORMAT', /DoRA \(use_dora\)/],
    ['PEFT with biases', read(peftFolder({ r: 2, bias: 'all' })), 'ERR_FILE_FORMAT', /bias 'all'/],
    ['PiSSA', read(peftFolder({ r: 2, init_lora_weights: 'pissa_niter_4' })), 'ERR_FILE_FORMAT', /changing the base weights/],
    ['an expression that could run for ever', read(peftFolder({ r: 2, alpha_pattern: { '(a+)+$': 1 } })), 'ERR_FILE_FORMAT', /found the expression '\(a\+\)\+\$'/],
    ['damaged adapter metadata', read(stored({ 'unet.conv_in.lora_A.weight': f32([1, 4, 3, 3]), 'unet.conv_in.lora_B.weight': f32([32, 1, 1, 1]) }, { lora_adapter_metadata: '{' })), 'ERR_FILE_FORMAT', /Expected JSON in .*lora_adapter_metadata/],
  ]);
});

t.test('keys and tensors that do not fit', async (t) => {
  const read = (change: Record<string, Tensor | undefined>) => (): unknown => readLora(stored(oneLayer(change)), small);
  const half: Tensor = { data: Uint16Array.of(...new Array<number>(127).fill(0x3c00), 0x7c00), shape: [64, 2], dtype: 'float16' };
  await refused(t, [
    ['an unknown layer', read({ [`${Q.replace('to_q', 'to_p')}.lora_down.weight`]: f32([2, 64]) }), 'ERR_WEIGHTS', /\(kohya\), 1 of 3 keys fit none: 'lora_unet_mid.*to_p\.lora_down\.weight'; nearest to the first: 'lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_[qkv]\.lora_down\.weight'/],
    ['no up', read({ [`${Q}.lora_up.weight`]: undefined }), 'ERR_WEIGHTS', /1 of them lack one: '.*to_q\.lora_down\.weight' has no up factor beside it/],
    ['no down', read({ [`${Q}.lora_down.weight`]: undefined }), 'ERR_WEIGHTS', /'.*to_q\.lora_up\.weight' has no down factor/],
    ['alpha without factors', read({ [`${K2}.alpha`]: f32([]) }), 'ERR_WEIGHTS', /attn2_to_k\.alpha' has no down and up factor/],
    ['another width', read({ [`${Q}.lora_down.weight`]: f32([2, 65]) }), 'ERR_WEIGHTS', /1 layers have others: '.*lora_down\.weight' \[2, 65\] and '.*lora_up\.weight' \[64, 2\] for a weight \[64, 64\]/],
    ['two ranks', read({ [`${Q}.lora_up.weight`]: f32([64, 3]) }), 'ERR_WEIGHTS', /\[2, 64\] and '.*' \[64, 3\]/],
    ['a kernel for a matrix', read({ [`${Q}.lora_down.weight`]: f32([2, 64, 3, 3]) }), 'ERR_WEIGHTS', /\[2, 64, 3, 3\]/],
    ['rank 0', read({ [`${Q}.lora_down.weight`]: f32([0, 64]), [`${Q}.lora_up.weight`]: f32([64, 0]) }), 'ERR_WEIGHTS', /'.*lora_down\.weight' has rank 0/],
    ['a number alone', read({ [`${Q}.lora_down.weight`]: f32([]) }), 'ERR_WEIGHTS', /\[\] and/],
    ['NaN', read({ [`${Q}.lora_down.weight`]: f32([2, 64], NaN) }), 'ERR_NOT_FINITE', /NaN or infinity in '.*lora_down\.weight'/],
    ['infinity in half precision', read({ [`${Q}.lora_up.weight`]: half }), 'ERR_NOT_FINITE', /lora_up\.weight'/],
    ['alpha 0', read({ [`${Q}.alpha`]: f32([], 0) }), 'ERR_WEIGHTS', /alpha other than 0/],
    ['alpha NaN', read({ [`${Q}.alpha`]: f32([], NaN) }), 'ERR_NOT_FINITE', /alpha', found NaN|alpha' in .*, found NaN/],
    ['two alphas', read({ [`${Q}.alpha`]: f32([2]) }), 'ERR_WEIGHTS', /Expected one number for '.*alpha'.*\[2\]/],
    ['float64', read({ [`${Q}.lora_up.weight`]: { data: new Float64Array(128), shape: [64, 2], dtype: 'float64' } }), 'ERR_DTYPE', /found float64/],
    ['one layer under two names', () => readLora(stored({ lora_te_text_model_encoder_layers_0_mlp_fc1: f32([1]), 'lora_te_text_model_encoder_layers_0_mlp_fc1.alpha': f32([]), 'lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha': f32([]) }), small), 'ERR_WEIGHTS', /found 'lora_te1_.*' and 'lora_te_.*'/],
    ['an embedding of another width', () => readLora(stored({ 'unet:0:down': f32([1, 64]), 'unet:0:up': f32([64, 1]), '<s>': f32([31]) }, { '<s>': '<embed>' }), small), 'ERR_WEIGHTS', /\[32\] or \[vectors, 32\] for the embedding '<s>'.*\[31\]/],
    ['a list that is too long', () => readLora(stored({ 'unet:36:down': f32([1, 64]), 'unet:36:up': f32([64, 1]) }), small), 'ERR_WEIGHTS', /2 of 2 keys fit none: 'unet:36:down', 'unet:36:up'/],
  ]);
  const lenient = readLora(stored(oneLayer({ [`${K2}.alpha`]: f32([]), 'lora_unet_nowhere.alpha': f32([]) })), small, { strict: false });
  t.same([Object.keys(lenient.weights.unet).length, lenient.unmatched.sort()], [1, [`${K2}.alpha`, 'lora_unet_nowhere.alpha'].sort()], 'not strict: a list of them');
  t.match(await thrown(() => readLora(stored({ 'lora_unet_nowhere.alpha': f32([]) }), small, { strict: false })), { code: 'ERR_WEIGHTS', message: /found none among 1 tensors/ });
});

t.test('a file for another base', async (t) => {
  const of = (family: 'sd1' | 'sd2'): LoraWeights => weightsOf(knownSites(family), { rank: 1 }, isAttention);
  for (const format of ['diffusers', 'kohya', 'peft'] as const) {
    await writeLora(file(`base-${format}.safetensors`), of('sd2'), { format });
    t.match(await thrown(() => readLora(file(`base-${format}.safetensors`), knownSites('sd1'))), { code: 'ERR_WEIGHTS', message: /is a LoRA of Stable Diffusion 2\.x \(prompts of width 1024\), the model is Stable Diffusion 1\.x \(prompts of width 768\)/ }, format);
    t.equal(inspectLora(file(`base-${format}.safetensors`)).family, 'sd2', 'found without being told');
  }
  await writeLora(file('base-text.safetensors'), { ...of('sd1'), unet: {} }, { format: 'kohya' });
  t.match(await thrown(() => readLora(file('base-text.safetensors'), knownSites('sd2'))), { code: 'ERR_WEIGHTS', message: /of Stable Diffusion 1\.x/ }, 'the text encoder alone tells too');
  const { [`${Q}.lora_up.weight`]: _, ...lost } = readSafetensors(file('base-kohya.safetensors')).tensors;
  t.match(await thrown(() => readLora(stored(lost), knownSites('sd2'))), { code: 'ERR_WEIGHTS', message: new RegExp(`'${Q}\\.(alpha|lora_down\\.weight)' has no up factor`) }, 'one key removed');
  const everySecond = Object.fromEntries(Object.entries(lost).filter((_, i) => i % 2 === 0));
  t.match(await thrown(() => readLora(stored(everySecond), knownSites('sd2'))), { code: 'ERR_WEIGHTS', message: /\d+ of them lack one/ }, 'half of the keys');
});

t.test('what cannot be written', async (t) => {
  const out = file('never.safetensors');
  const good = weightsOf(small, {}, isAttention);
  const write = (weights: LoraWeights, options: Partial<WriteLoraOptions> = {}, path = out) => (): unknown => writeLora(path, weights, { format: 'kohya', ...options });
  const [name = ''] = Object.keys(good.unet);
  const spoilt = (change: Partial<LoraFactors>): LoraWeights => ({ ...good, unet: { ...good.unet, [name]: { ...(good.unet[name] as LoraFactors), ...change } } });
  const onlyQv = { ...good, textEncoder: factors(small.textEncoder.filter((site) => /[qv]_proj$/.test(site.name))) };
  mkdirSync(file('full'));
  writeFileSync(file('full/x'), '');
  await refused(t, [
    ['no path', write(good, {}, ''), 'ERR_INVALID_ARGUMENT', /path of a file/],
    ['an unknown format', write(good, { format: 'webui' as never }), 'ERR_INVALID_ARGUMENT', /one of 'diffusers', 'kohya', 'peft' for format/],
    ['an unknown option', write(good, { dtpye: 'float16' } as never), 'ERR_INVALID_ARGUMENT', /did you mean 'dtype'/],
    ['nothing', write({ unet: {}, textEncoder: {}, embeddings: {} }), 'ERR_INVALID_ARGUMENT', /at least one layer/],
    ['alphas twice', write(good, { metadata: { lora_adapter_metadata: '{}' } }), 'ERR_INVALID_ARGUMENT', /without 'lora_adapter_metadata'/],
    ['rank 0', write(spoilt({ down: f32([0, 64]), up: f32([64, 0]) })), 'ERR_INVALID_ARGUMENT', /received \[0, 64\]/],
    ['factors of two ranks', write(spoilt({ up: f32([64, 3]) })), 'ERR_INVALID_ARGUMENT', /up \[out, rank\]/],
    ['scale 0', write(spoilt({ scale: 0 })), 'ERR_INVALID_ARGUMENT', /finite scale/],
    ['NaN', write(spoilt({ down: f32([2, 64], NaN) })), 'ERR_INVALID_ARGUMENT', /finite factors/],
    ['too large for float16', write(spoilt({ down: f32([2, 64], 7e4) }), { dtype: 'float16' }), 'ERR_NOT_FINITE', /fit into float16/],
    ['a text encoder without out_proj', write(onlyQv), 'ERR_INVALID_ARGUMENT', /Expected out_proj among the text encoder's layers.*padOutProj/],
    ['the same for diffusers', write(onlyQv, { format: 'diffusers' }), 'ERR_INVALID_ARGUMENT', /padOutProj/],
    ['no folder above', write(good, {}, file('no/such/x.safetensors')), 'ERR_FILE_WRITE', /no\/such/],
    ['a folder with content', write(good, { format: 'peft' }, file('full')), 'ERR_FILE_WRITE', /new or empty/],
  ]);
  t.notOk(existsSync(out));
  await writeLora(file('padded.safetensors'), onlyQv, { format: 'kohya', padOutProj: true });
  const { textEncoder } = readLora(file('padded.safetensors'), small).weights;
  const outs = Object.entries(textEncoder).filter(([key]) => key.endsWith('out_proj'));
  t.equal(outs.length, 3);
  t.ok(outs.every(([, f]) => [...f.down.data, ...f.up.data].every((value) => value === 0)), 'padOutProj: layers of zeros');
  await writeLora(file('qv'), { ...onlyQv, unet: {} }, { format: 'peft' });
  t.equal(Object.keys(readLora(file('qv'), small).weights.textEncoder).length, 6, 'PEFT has no such rule');
});

t.test("layers are diffusers' and transformers', in their order", async (t) => {
  for (const family of ['sd1', 'sd2'] as const) {
    const { unet, textEncoder } = knownSites(family);
    t.same(digest(unet), reference.published[family].unet, `${family}, UNet`);
    t.same(digest(textEncoder), reference.published[family].text, `${family}, text`);
    const tiny = unetOf(family);
    t.same(digest(tiny), reference.tiny[family]);
    const { map } = (golden('diffusion/single_file') as { tiny: Record<string, { map: [string, number[], number, string][] }> }).tiny[`unet.${family}`] as { map: [string, number[], number, string][] };
    const layout = originalLayout(tiny);
    const named = new Map(map.map(([original, , , name]) => [name, original]));
    t.same(tiny.map(({ name }) => `model.diffusion_model.${originalName(name, layout)}.weight`), tiny.map(({ name }) => named.get(`${name}.weight`)), 'and their names in the original layout');
  }
  t.same(digest(small.unet), reference.tiny.small);
  const own = storedModel('unet', 'uneven').parameters.filter(([name, shape]) => name.endsWith('.weight') && shape.length > 1);
  const byName = (a: LoraSite, b: LoraSite): number => (a.name < b.name ? -1 : 1);
  t.same([...unetOf('uneven')].sort(byName), own.map(([name, shape]) => ({ name: name.slice(0, -'.weight'.length), shape })).sort(byName), 'as many layers a level as the model says');
});

// Published by the notes on the formats; computed there from the lists of modules.
const KEY_LISTS = {
  diffusers: { sd1: '0c11e701ad8e1eb3b125264380546889512223b49700e75c5fa21dbf03808e70', sd2: '4f878b58e78b9ebcd46276a6a7a4720d2db55e78117cedd1b82b43e3aecb6bc0' },
  peft: { sd1: 'bc3f1025bd65f483365dee48ab12dc2aac7435b1d7a25f62510da5ce9350f8c8', sd2: 'b35e8a4f4ac5e533d838fbe59a9535cba05e0d5a0764da92601d2b87d7760448' },
  kohya: { sd1: 'b4a2198f4282fc0210d64f235325f69436f3abcad7842fdebdf5b828c55403db', sd2: '4b1bb115cabc4cb0aa253029fe56c88b58ba76f07f4b8eee94e73274e2b879a6' },
};
const COUNTS = { sd1: { diffusers: 352, peft: 352, kohya: 528, numbers: 4_368_384, text: 48 }, sd2: { diffusers: 440, peft: 440, kohya: 660, numbers: 6_334_464, text: 92 } };

t.test('key lists, counts and bytes of published sizes', async (t) => {
  for (const family of ['sd1', 'sd2'] as const) {
    const weights = weightsOf(knownSites(family), { rank: 16 }, isAttention);
    for (const format of ['diffusers', 'peft', 'kohya'] as const) {
      const path = file(`${family}-${format}.safetensors`);
      await writeLora(path, weights, { format });
      const { tensors, metadata } = readSafetensors(path);
      const keys = Object.keys(tensors).sort();
      t.equal(sha256(keys), KEY_LISTS[format][family], `${family} ${format}`);
      t.equal(keys.length, COUNTS[family][format]);
      if (format === 'kohya') t.match(metadata, { ss_v2: family === 'sd2' ? 'True' : 'False', ss_base_model_version: family === 'sd2' ? 'sd_v2' : 'sd_v1', ss_network_module: 'networks.lora', ss_network_dim: '16', ss_network_alpha: '16' });
      else t.same(metadata, { format: 'pt' });
      const { parts, parameters } = inspectLora(path);
      t.same(parts, { unet: { layers: 128, of: 128 }, textEncoder: { layers: COUNTS[family].text, of: COUNTS[family].text } });
      t.equal(parameters, COUNTS[family].numbers);
    }
  }
  const first = readFileSync(file('sd1-kohya.safetensors'));
  const backwards = (part: Record<string, LoraFactors>): Record<string, LoraFactors> => Object.fromEntries(Object.entries(part).reverse());
  const weights = weightsOf(knownSites('sd1'), { rank: 16 }, isAttention);
  await writeLora(file('again.safetensors'), { ...weights, unet: backwards(weights.unet), textEncoder: backwards(weights.textEncoder) }, { format: 'kohya' });
  t.ok(first.equals(readFileSync(file('again.safetensors'))), 'equal weights give equal bytes');
  t.same(readdirSync(root).filter((name) => name.includes('tmp')), [], 'nothing temporary is left');
});

/** Files whose keys are diffusers' own, filled with the factors of `weightsOf(small)`. */
function withKeys(keys: readonly string[]): string {
  const shapes = new Map(Object.entries(reference.keys.diffusersPeft));
  const every = weightsOf(small);
  const source = new Map<string, Tensor>();
  for (const [part, prefix] of [['unet', 'unet'], ['textEncoder', 'text_encoder']] as const) {
    for (const [name, { down, up }] of Object.entries(every[part])) {
      for (const [end, tensor] of [['lora_A', down], ['lora_B', up]] as const) {
        const key = `${prefix}.${name}.${end}.weight`;
        source.set(key, { ...tensor, shape: shapes.get(key) ?? [] });
      }
    }
  }
  // The four lists are in other orders: each key is matched by flattening the names, which is how the keys of kohya came about.
  const flat = (key: string): string => key.replace(/^lora_unet_/, 'unet.').replace(/^lora_te1_/, 'text_encoder.').replace('.processor', '')
    .replace(/\.to_(q|k|v|out)_lora\./, (_, last: string) => (key.startsWith('text') ? `.${last}_proj.` : `.to_${last === 'out' ? 'out.0' : last}.`))
    .replace(/\.(lora_A|lora_down|lora\.down|lora_linear_layer\.down|down)\.weight$/, '.DOWN').replace(/\.(lora_B|lora_up|lora\.up|lora_linear_layer\.up|up)\.weight$/, '.UP').replaceAll('.', '_');
  const byFlat = new Map([...source].map(([key, tensor]) => [flat(key), tensor]));
  return stored(Object.fromEntries(keys.map((key) => [key, key.endsWith('.alpha') ? { data: BigInt64Array.of(2n), shape: [], dtype: 'int64' } : (byFlat.get(flat(key)) as Tensor)])));
}

t.test("keys that diffusers wrote are read, whatever their style, and ours are diffusers'", async (t) => {
  const { keys } = reference;
  const styles = { diffusers: keys.diffusers, 'diffusers-peft': Object.keys(keys.diffusersPeft), kohya: keys.kohya, 'diffusers-old': keys.diffusersOld };
  const chosen = new Set(Object.keys(keys.diffusersPeft).map((key) => key.replace(/^(unet|text_encoder)\./, '').replace(/\.lora_[AB]\.weight$/, '')));
  const every = weightsOf(small);
  const only = (part: Record<string, LoraFactors>): Record<string, LoraFactors> => Object.fromEntries(Object.entries(part).filter(([name]) => chosen.has(name)));
  const expected: LoraWeights = { unet: only(every.unet), textEncoder: only(every.textEncoder), embeddings: {} };
  t.ok(Object.keys(expected.unet).length > 70 && Object.keys(expected.textEncoder).length === 18);
  for (const [format, list] of Object.entries(styles)) {
    const read = readLora(withKeys(list), small);
    t.equal(read.format, format);
    t.same(bytesOf(read.weights), bytesOf(expected), format);
  }
  const short = withKeys(keys.diffusersOld);
  const { tensors } = readSafetensors(short);
  const bare = stored(Object.fromEntries(Object.entries(tensors).map(([key, tensor]) => [key.replace(/^unet\.|^text_encoder\.text_model\./, ''), tensor])));
  t.same(bytesOf(readLora(bare, small).weights), bytesOf(expected), 'without the names of the parts');
  const lora_te = stored(Object.fromEntries(Object.entries(readSafetensors(withKeys(keys.kohya)).tensors).map(([key, tensor]) => [key.replace('lora_te1_', 'lora_te_'), tensor])));
  t.same(bytesOf(readLora(lora_te, small).weights), bytesOf(expected), 'lora_te_ in place of lora_te1_');
  const layout = originalLayout(small.unet);
  const sgm = new Map(small.unet.map(({ name }) => [`lora_unet_${name.replaceAll('.', '_')}`, `lora_unet_${originalName(name, layout).replaceAll('.', '_')}`]));
  const renamed = stored(Object.fromEntries(Object.entries(readSafetensors(withKeys(keys.kohya)).tensors).map(([key, tensor]) => [key.replace(/^[^.]*/, (module) => sgm.get(module) ?? module), tensor])));
  t.same(bytesOf(readLora(renamed, small).weights), bytesOf(expected), "UNet's names of the original layout");

  const written = async (format: 'diffusers' | 'kohya' | 'peft', weights: LoraWeights): Promise<Record<string, readonly number[]>> => {
    await writeLora(file('ours.safetensors'), weights, { format });
    return Object.fromEntries(Object.entries(readSafetensors(file('ours.safetensors')).tensors).map(([key, { shape }]) => [key, shape]));
  };
  t.same(await written('peft', expected), keys.diffusersPeft);
  t.same(Object.keys(await written('kohya', expected)).sort(), keys.kohya.map((key) => key.replace('lora_te1_', 'lora_te_')).sort());
  const attention = (key: string): boolean => /attn/.test(key);
  t.same(Object.keys(await written('diffusers', weightsOf(small, {}, isAttention))).sort(), keys.diffusers.filter(attention));
  const whole = Object.keys(await written('diffusers', expected));
  t.same(whole.filter((key) => key.startsWith('unet')), Object.keys(keys.diffusersPeft).filter((key) => key.startsWith('unet')).sort(), 'one style for the UNet: diffusers goes by the first key');
});

t.test('alphas', async (t) => {
  const only = (path: string): LoraFactors => Object.values(readLora(path, small).weights.unet)[0] as LoraFactors;
  const scaleWith = (alpha: Tensor | undefined): number => only(stored(oneLayer({ [`${Q}.alpha`]: alpha }))).scale;
  t.equal(scaleWith(undefined), 1, 'none: scale 1');
  t.equal(scaleWith(f32([], 1)), 0.5);
  t.equal(scaleWith(f32([1], 1)), 0.5, 'of shape [1]');
  t.equal(scaleWith({ data: BigInt64Array.of(8n), shape: [], dtype: 'int64' }), 4, 'an integer');
  t.equal(scaleWith({ data: Uint16Array.of(0x3f80), shape: [], dtype: 'bfloat16' }), 0.5);
  t.equal(scaleWith({ data: Uint16Array.of(0x3c00), shape: [], dtype: 'float16' }), 0.5);

  // alpha 1 at rank 16: a sixteenth, which diffusers' files can only have in `up`.
  const site = small.unet.filter(({ name }) => name.endsWith('attn1.to_q')).slice(0, 1);
  const weights: LoraWeights = { unet: factors(site, { rank: 16, alpha: 1 }), textEncoder: {}, embeddings: {} };
  const { name } = site[0] as LoraSite;
  const original = weights.unet[name] as LoraFactors;
  await writeLora(file('alpha.kohya.safetensors'), weights, { format: 'kohya' });
  t.match(only(file('alpha.kohya.safetensors')), { alpha: 1, scale: 0.0625 });
  const { tensors } = readSafetensors(file('alpha.kohya.safetensors'));
  const alpha = tensors[`lora_unet_${name.replaceAll('.', '_')}.alpha`];
  t.same(alpha, { data: Float32Array.of(1), shape: [], dtype: 'float32' }, 'a float of no dimension');
  for (const format of ['diffusers', 'peft'] as const) {
    await writeLora(file('alpha.safetensors'), weights, { format });
    const read = only(file('alpha.safetensors'));
    t.match(read, { alpha: 16, scale: 1 });
    t.same(read.down.data, original.down.data);
    t.same(read.up.data, (original.up.data as Float32Array).map((value) => value / 16), `${format}: in up`);
  }
  const rsLora: LoraWeights = { ...weights, unet: factors(site, { rank: 16, alpha: 16, scale: 4 }) };
  await writeLora(file('rs'), rsLora, { format: 'peft' });
  t.match(JSON.parse(readFileSync(file('rs/adapter_config.json'), 'utf8')), { r: 16, lora_alpha: 16, use_rslora: true });
  t.match(only(file('rs')), { alpha: 16, scale: 4 });
  await writeLora(file('rs.safetensors'), rsLora, { format: 'kohya', dtype: 'float16' });
  t.match(only(file('rs.safetensors')), { alpha: 64, scale: 4 }, 'others divide by the rank');
});

t.test("PEFT's configurations scale as in PEFT", async (t) => {
  const attention = small.unet.filter(isAttention);
  for (const [title, { config, layers, keys }] of Object.entries(reference.scales)) {
    const ranks = new Map(layers.map(([name, rank]) => [name, rank]));
    const tensors = attention.flatMap(({ name, shape: [out = 0, inside = 0] }): [string, Tensor][] => {
      const rank = ranks.get(name) as number;
      return [[`base_model.model.${name}.lora_A.weight`, f32([rank, inside])], [`base_model.model.${name}.lora_B.weight`, f32([out, rank])]];
    });
    t.ok(keys.every((key) => tensors.some(([own]) => own === key)), 'its names');
    const { weights, format } = readLora(peftFolder(config, Object.fromEntries(tensors)), small);
    t.equal(format, 'peft');
    t.same(layers.map(([name]) => weights.unet[name]?.scale), layers.map(([, , scale]) => scale), title);
    await writeLora(file(`peft-${title}`), weights, { format: 'peft' });
    t.same(bytesOf(readLora(file(`peft-${title}`), small).weights), bytesOf(weights), 'and back');
  }
  const sites = { unet: attention, textEncoder: small.textEncoder.filter(isAttention) };
  const inside = Object.fromEntries((['unet', 'textEncoder'] as const).flatMap((part) => sites[part].flatMap(({ name, shape: [out = 0, inner = 0] }) => ['A', 'B'].map((end): [string, Tensor] => [`${part === 'unet' ? 'unet' : 'text_encoder'}.${name}.lora_${end}.weight`, end === 'A' ? f32([2, inner]) : f32([out, 2])]))));
  const { weights } = readLora(stored(inside, reference.adapterMetadata), small);
  // r = lora_alpha = 2; alpha_pattern gives to_k 1 and k_proj 5.
  for (const [name, { scale }] of Object.entries({ ...weights.unet, ...weights.textEncoder })) t.equal(scale, name.endsWith('to_k') ? 0.5 : name.endsWith('k_proj') ? 2.5 : 1, name);
});

t.test("numbers are rounded as PyTorch's", async (t) => {
  const { float32, float16, bfloat16 } = reference.casts;
  const tensor: Tensor = { data: new Float32Array(Uint32Array.from(float32).buffer), shape: [float32.length], dtype: 'float32' };
  t.same([...castTensor(tensor, 'bfloat16', 'x').data], bfloat16);
  for (const [i, bits] of float16.entries()) {
    const one: Tensor = { data: (tensor.data as Float32Array).slice(i, i + 1), shape: [], dtype: 'float32' };
    if (bits === 0x7c00) t.match(await thrown(() => castTensor(one, 'float16', 'x')), { code: 'ERR_NOT_FINITE' });
    else t.equal(castTensor(one, 'float16', 'x').data[0], bits, `${one.data[0]}`);
  }
  // Every finite half is a float32 and comes back.
  for (const dtype of ['float16', 'bfloat16'] as const) {
    const mask = dtype === 'float16' ? 0x7c00 : 0x7f80;
    const all: Tensor = { data: Uint16Array.from({ length: 65536 }, (_, i) => i).filter((bits) => (bits & mask) !== mask), shape: [65536 - 2 * (dtype === 'float16' ? 1024 : 128)], dtype };
    t.ok(Buffer.from(castTensor(castTensor(all, 'float32', 'x'), dtype, 'x').data.buffer).equals(Buffer.from(all.data.buffer)), dtype);
  }
});

const FORMATS = ['diffusers', 'kohya', 'peft', 'folder'] as const;
async function through(weights: LoraWeights, format: (typeof FORMATS)[number], name: string): Promise<LoraWeights> {
  const path = file(format === 'folder' ? name : `${name}.safetensors`);
  await writeLora(path, weights, { format: format === 'folder' ? 'peft' : format });
  return readLora(path, small).weights;
}

t.test('what is written is read back bit for bit, through any formats in turn', async (t) => {
  for (const dtype of ['float32', 'float16', 'bfloat16'] as const) {
    let weights = weightsOf(small, { dtype });
    const expected = bytesOf(weights);
    for (const format of ['diffusers', 'kohya', 'diffusers', 'folder', 'peft', 'kohya'] as const) {
      weights = await through(weights, format, `turn-${files++}`);
      t.same(bytesOf(weights), expected, `${dtype}, ${format}`);
    }
  }
  const half = await (async () => {
    await writeLora(file('half.safetensors'), weightsOf(small), { format: 'kohya', dtype: 'float16' });
    return readLora(file('half.safetensors'), small).weights;
  })();
  let worst = 0;
  for (const [name, { down }] of Object.entries(weightsOf(small).unet)) {
    const back = castTensor((half.unet[name] as LoraFactors).down, 'float32', name).data as Float32Array;
    for (const [i, value] of (down.data as Float32Array).entries()) if (Math.abs(value) >= 2 ** -14) worst = Math.max(worst, Math.abs((back[i] as number) / value - 1));
  }
  t.ok(worst <= 2 ** -11 && worst > 0, `half precision: ${worst}`);

  const sites = [...small.unet.map((site) => ['unet', site] as const), ...small.textEncoder.map((site) => ['textEncoder', site] as const)];
  const arbitrary = fc.record({
    picks: fc.uniqueArray(fc.nat(sites.length - 1), { minLength: 1, maxLength: 6 }),
    ranks: fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 6, maxLength: 6 }),
    powers: fc.array(fc.integer({ min: -3, max: 3 }), { minLength: 6, maxLength: 6 }),
    dtype: fc.constantFrom('float32' as const, 'float16' as const, 'bfloat16' as const),
    formats: fc.array(fc.constantFrom('kohya' as const, 'folder' as const), { minLength: 1, maxLength: 3 }),
    last: fc.constantFrom(...FORMATS),
  });
  await fc.assert(
    fc.asyncProperty(arbitrary, async ({ picks, ranks, powers, dtype, formats, last }) => {
      const weights: LoraWeights = { unet: {}, textEncoder: {}, embeddings: {} };
      for (const [i, pick] of picks.entries()) {
        const [part, site] = sites[pick] as (typeof sites)[number];
        const rank = ranks[i] as number;
        Object.assign(weights[part], factors([site], { rank, alpha: rank * 2 ** (powers[i] as number), dtype }));
        // The rule on out_proj is another test's.
        if (part === 'textEncoder') Object.assign(weights.textEncoder, factors(small.textEncoder.filter(({ name }) => name === site.name.replace(/[qkv]_proj$/, 'out_proj')), { rank, alpha: rank, dtype }));
      }
      let current = weights;
      for (const format of formats) current = await through(current, format, `property-${files++}`);
      if (bytesOf(current).join() !== bytesOf(weights).join()) return false; // alphas are kept
      current = await through(current, last, `property-${files++}`);
      // Scales are powers of two, so that even a product with `up` is exact.
      const layers = (w: LoraWeights): string[] => [...Object.entries(w.unet), ...Object.entries(w.textEncoder)].map(([name, f]) => `${name} ${sha256([String(castTensor(f.down, 'float32', name).data)])} ${sha256([String((castTensor(f.up, 'float32', name).data as Float32Array).map((value) => value * f.scale))])}`).sort();
      return layers(current).join() === layers(weights).join();
    }),
    { numRuns: 40, seed: 5 },
  );
});

t.test('embeddings come along', async (t) => {
  const weights: LoraWeights = { ...weightsOf(small, {}, isAttention), embeddings: { '<a/b>': ramp(3, [2, 32]), cat: ramp(4, [32]) } };
  t.same(await writeLora(file('emb.safetensors'), weights, { format: 'kohya' }), [file('emb.safetensors')]);
  const { embeddings } = readLora(file('emb.safetensors'), small).weights;
  t.same(embeddings, { '<a/b>': ramp(3, [2, 32]), cat: ramp(4, [1, 32]) }, 'kohya: inside, as rows');
  const paths = await writeLora(file('emb.safetensors'), weights, { format: 'diffusers' });
  t.same(paths, [file('emb.safetensors'), file('emb.%3Ca%2Fb%3E.safetensors'), file('emb.cat.safetensors')]);
  t.same(readSafetensors(paths[1] as string).tensors, { '<a/b>': ramp(3, [2, 32]) }, 'diffusers: each a textual inversion of its own');
});

for (const [name, rank, numbers, tokens, dtype] of [['lora_disney', 1, 385_344, ['<s1>', '<s2>'], 'float32'], ['analog_svd_rank4', 4, 1_541_376, [], 'float16']] as const) {
  const path = dataFile(`weights/${name}.safetensors`);
  t.test(`${name}: a published list without names`, { skip: !existsSync(path) && `there is no ${path}` }, async (t) => {
    const sites = knownSites('sd1');
    const { weights, format, unmatched } = readLora(path, sites);
    t.same([format, unmatched], ['cloneofsimo', []], 'no key is left over');
    t.match(inspectLora(path), { family: 'sd1', parameters: numbers, ranks: [rank], scales: [1], dtypes: [dtype], parts: { unet: { layers: 144, of: 144 }, textEncoder: { layers: 48, of: 48 } } });
    t.same(Object.keys(weights.embeddings), tokens);
    const { tensors } = readSafetensors(path);
    const mid = weights.unet['mid_block.attentions.0.transformer_blocks.0.attn1.to_q'];
    t.same(mid?.down, tensors['unet:135:down'], 'the 136th layer is the first of the middle block');
    t.same(weights.unet['down_blocks.0.attentions.0.transformer_blocks.0.ff.net.0.proj']?.up.shape, [2560, rank]);
    t.same(weights.unet['down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k']?.down.shape, [rank, 768]);
    t.same(weights.textEncoder['text_model.encoder.layers.0.self_attn.q_proj']?.up, tensors['text_encoder:2:up'], 'keys and values come first');
    await convertLora(path, file(`${name}.kohya.safetensors`), { format: 'kohya' });
    const converted = readLora(file(`${name}.kohya.safetensors`), sites);
    t.same(bytesOf({ ...converted.weights, embeddings: {} }), bytesOf({ ...weights, embeddings: {} }));
    t.same(Object.keys(converted.metadata).filter((key) => !key.startsWith('ss_')), [], 'and nothing of its form');
  });
}

t.test('damaged files: a code, whatever the bytes', async (t) => {
  await writeLora(file('whole.safetensors'), weightsOf(small, { rank: 1 }, ({ name }) => /mid_block.*attn/.test(name)), { format: 'kohya' });
  const whole = readFileSync(file('whole.safetensors'));
  const headerLength = Number(whole.readBigUInt64LE()) + 8;
  const path = file('damaged.safetensors');
  const attempt = async (bytes: Buffer): Promise<boolean> => {
    writeFileSync(path, bytes);
    const error = await thrown(() => readLora(path, small));
    return error.message === 'nothing was thrown' || (/^ERR_(FILE|WEIGHTS|NOT_FINITE|DTYPE)/.test(error.code ?? '') && !error.message.includes('\n'));
  };
  await fc.assert(
    fc.asyncProperty(fc.array(fc.record({ at: fc.nat(headerLength - 1), byte: fc.nat(255) }), { minLength: 1, maxLength: 4 }), fc.option(fc.nat(whole.length)), async (changes, cut) => {
      const bytes = Buffer.from(whole);
      for (const { at, byte } of changes) bytes[at] = byte;
      return attempt(cut === null ? bytes : bytes.subarray(0, cut));
    }),
    { numRuns: 200, seed: 11 },
  );
  t.pass('any bytes in the header');
  const digits = [...whole.subarray(8, headerLength).toString().matchAll(/\d+/g)];
  await fc.assert(
    fc.asyncProperty(fc.nat(digits.length - 1), fc.constantFrom('-1', '0', '9223372036854775808', '1e308', '4294967296', 'null', '"x"'), async (i, value) => {
      const { 0: old, index } = digits[i] as RegExpExecArray;
      const text = whole.subarray(8, headerLength).toString();
      const header = Buffer.from(text.slice(0, index) + value + text.slice(index + old.length));
      const length = Buffer.alloc(8);
      length.writeBigUInt64LE(BigInt(header.length));
      return attempt(Buffer.concat([length, header, whole.subarray(headerLength)]));
    }),
    { numRuns: 100, seed: 13 },
  );
  t.pass('any numbers in it');
});

t.test('seedbed lora', async (t: Test) => {
  const path = file('cli.safetensors');
  const weights = weightsOf(knownSites('sd2'), { rank: 1 }, isAttention);
  await writeLora(path, { ...weights, textEncoder: {} }, { format: 'kohya', metadata: { ss_output_name: 'a style' } });
  const inspected = await seedbed(['lora', 'inspect', path]);
  t.equal(inspected.code, 0, inspected.stderr);
  for (const part of [/kohya.*Stable Diffusion 2\.x/, /UNet 128\/128, text 0\/92/, /rank +1; alpha 1; scale 1/, /207,488 in float32/, /ss_output_name = a style/]) t.match(inspected.stdout, part);
  const json = await seedbed(['lora', 'inspect', path, '--json']);
  t.match(JSON.parse(json.stdout), { format: 'kohya', family: 'sd2', parts: { unet: { layers: 128, of: 128 } }, unmatched: [] });
  const wrong = await seedbed(['lora', 'inspect', path, '--model', 'sd1']);
  t.match([wrong.code, wrong.stderr], [1, /LoRA of Stable Diffusion 2\.x.*\(ERR_WEIGHTS\)\n$/]);
  const converted = await seedbed(['lora', 'convert', path, '--to', 'diffusers', '--out', file('cli-out.safetensors'), '--dtype', 'float16', '--json']);
  t.same(JSON.parse(converted.stdout), { written: [file('cli-out.safetensors')] });
  t.match(inspectLora(file('cli-out.safetensors')), { format: 'diffusers', family: 'sd2', dtypes: ['float16'], metadata: { ss_output_name: 'a style', format: 'pt' } });
  t.equal((await seedbed(['lora', 'convert', path, '--to', 'webui', '--out', 'x'])).code, 2);
  mkdirSync(file('cli-model/unet'), { recursive: true });
  const missing = await seedbed(['lora', 'inspect', path, '--model', file('cli-model'), '--json']);
  t.match([missing.code, JSON.parse(missing.stdout)], [1, { error: { code: 'ERR_FILE_NOT_FOUND' } }]);
});

const python = process.env['SEEDBED_PYTHON'] ?? '';
const skip = python === '' ? 'SEEDBED_PYTHON names no Python with diffusers and peft' : !existsSync(python) && `there is no ${python}`;

type Loaded = Record<'unet' | 'text_encoder', Record<string, { scale: number; down: number[]; up: number[] }>>;

t.test('real diffusers and PEFT load what is written here, with the same factors', { skip, timeout: 300_000 }, async (t) => {
  const sites: LoraSites = { unet: unetOf('sd1'), textEncoder: textOf('sd1') };
  const check = (found: Record<string, { scale: number; down: number[]; up: number[] }> | undefined, expected: Record<string, LoraFactors>, title: string): void => {
    t.same(Object.keys(found ?? {}).sort(), Object.keys(expected).sort(), `${title}: layers`);
    const same = Object.entries(expected).every(([name, f]) => {
      const other = found?.[name];
      const up = f.up.data as Float32Array;
      // Files without alphas have the scale in `up`: here a power of two.
      return other !== undefined && String(other.down) === String(f.down.data) && up.every((value, i) => (other.up[i] as number) * other.scale === value * f.scale);
    });
    t.ok(same, `${title}: numbers`);
  };
  const cases: [title: string, path: string, weights: LoraWeights][] = [];
  const add = async (title: string, weights: LoraWeights, format: WriteLoraOptions['format'], path: string): Promise<void> => {
    await writeLora(path, weights, { format });
    cases.push([`${title}, ${format}`, path, weights]);
  };
  for (const format of ['diffusers', 'kohya', 'peft'] as const) {
    await add('attention', weightsOf(sites, { alpha: 1 }, isAttention), format, file(`python-attention-${format}.safetensors`));
    await add('everything', weightsOf(sites), format, file(`python-everything-${format}.safetensors`));
  }
  const mixed = { ...factors(sites.unet.filter(({ name }) => name.endsWith('to_q')), { rank: 3, alpha: 6 }), ...factors(sites.unet.filter(({ name }) => name.endsWith('to_k'))) };
  await add('two ranks and alphas', { unet: mixed, textEncoder: {}, embeddings: {} }, 'peft', file('python-peft'));
  const { stdout } = await run(python, [join(packageRoot, 'scripts', 'golden', 'lora_files.py'), 'read', ...cases.map(([, path]) => path)], { maxBuffer: 2 ** 29, env: { ...process.env, HF_HUB_OFFLINE: '1' } });
  const found = JSON.parse(stdout) as Loaded[];
  for (const [i, [title, , weights]] of cases.entries()) {
    check(found[i]?.unet, weights.unet, `${title}, UNet`);
    check(found[i]?.text_encoder, weights.textEncoder, `${title}, text`);
  }
});
