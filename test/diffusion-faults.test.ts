import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { loadDiffusion, readSafetensors, writeSafetensors, type Diffusion, type GenerateOptions, type Tensor } from 'seedbed';
import { filled, formulaNets, storedModel, writeFormulaModel, writeFormulaPipeline } from './formula.js';
import { picture, runScript, thrown } from './support.js';

const root = t.testdir();
const nets = { unet: storedModel('unet', 'small'), vae: storedModel('vae', 'small'), text: formulaNets('sd1').text };
const good = writeFormulaPipeline(join(root, 'good'), 'sd1', undefined, nets);
const load = (path: string, options = {}): PromiseLike<Diffusion> => loadDiffusion(path, { dtype: 'float32', threads: 1, ...options });

type Case = [title: string, call: () => unknown, code: string, message: RegExp];

async function checkCases(t: Test, cases: readonly Case[]): Promise<void> {
  for (const [title, call, code, message] of cases) {
    const error = await thrown(call);
    t.match(error, { code, message }, title);
    t.notMatch(error.message, /\n/, `${title}: one line`);
    t.ok(error.message.length < 1000, `${title}: of some sentences at most`);
  }
}

/** A broken copy of the good folder: `change` gets a net's weights and returns those to write. */
let copies = 0;
function broken(part: 'unet' | 'vae' | 'text_encoder', change: (weights: Record<string, Tensor>) => Record<string, Tensor>): string {
  const folder = writeFormulaPipeline(join(root, `broken-${copies++}`), 'sd1', undefined, nets);
  const file = join(folder, part, part === 'text_encoder' ? 'model.safetensors' : 'diffusion_pytorch_model.safetensors');
  writeSafetensors(file, change(readSafetensors(file).tensors));
  return folder;
}

const CONV_IN = 'conv_in.weight'; // [32, 4, 3, 3]

function withIndex(className: string): string {
  const folder = join(root, `other-${copies++}`);
  mkdirSync(folder);
  writeFileSync(join(folder, 'model_index.json'), JSON.stringify({ _class_name: className }));
  return folder;
}

t.test('models that cannot be loaded', async (t) => {
  mkdirSync(join(root, 'empty'));
  writeFileSync(join(root, 'model.ckpt'), 'PK');
  const LFS = 'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 3438167534\n';
  const pointer = writeFormulaPipeline(join(root, 'pointer'), 'sd1', undefined, nets);
  writeFileSync(join(pointer, 'unet', 'diffusion_pytorch_model.safetensors'), LFS);
  writeFileSync(join(root, 'pointer.safetensors'), LFS);
  const cut = writeFormulaPipeline(join(root, 'cut'), 'sd1', undefined, nets);
  const weights = join(cut, 'vae', 'diffusion_pytorch_model.safetensors');
  writeFileSync(weights, readFileSync(weights).subarray(0, -100));
  const config = writeFormulaPipeline(join(root, 'config'), 'sd1', undefined, nets);
  writeFormulaModel(join(config, 'unet'), { ...nets.unet, config: nets.unet.config.replace('"cross_attention_dim": 32', '"cross_attention_dim": 64') });
  const scheduler = writeFormulaPipeline(join(root, 'scheduler'), 'sd1', { _class_name: 'PNDMScheduler', beta_schedule: 'strange' }, nets);
  const vocabulary = writeFormulaPipeline(join(root, 'vocabulary'), 'sd1', undefined, nets);
  rmSync(join(vocabulary, 'tokenizer', 'merges.txt'));

  const without = (name: string) => ({ [name]: _, ...rest }: Record<string, Tensor>): Record<string, Tensor> => rest;
  const spoilt = (value: number, name = 'mid_block.resnets.0.conv1.weight') => (all: Record<string, Tensor>): Record<string, Tensor> => {
    (all[name] as Tensor<'float32'>).data[7] = value;
    return all;
  };
  // Layers that multiply look at their weights when they are first called.
  const use = async (folder: string): Promise<void> => {
    using sd = await load(folder);
    await sd.generate({ prompt: 'a cat', steps: 1 });
  };
  await checkCases(t, [
    ['no path', () => loadDiffusion(''), 'ERR_INVALID_ARGUMENT', /Expected the path or the hub name/],
    ['a path that is none', () => loadDiffusion(7 as never), 'ERR_INVALID_ARGUMENT', /Expected the path or the hub name/],
    ['nothing there', () => load(join(root, 'nothing')), 'ERR_FILE_NOT_FOUND', /nothing'/],
    ['an empty folder', () => load(join(root, 'empty')), 'ERR_FILE_NOT_FOUND', /Expected a diffusers folder .* found no model_index\.json$/],
    ['one net of a folder', () => load(join(good, 'unet')), 'ERR_FILE_NOT_FOUND', /one part of a model: give the folder above it/],
    ['another shape', () => load(broken('unet', (all) => ({ ...all, [CONV_IN]: filled('x', [32, 4, 3, 4]) }))), 'ERR_WEIGHTS', /1 of another shape: conv_in\.weight \[32, 4, 3, 4\] for \[32, 4, 3, 3\]$/],
    ['another size of the net', () => load(config), 'ERR_FILE_FORMAT', /cross_attention_dim 64 is not the text encoder's hidden_size 32/],
    ['a tensor missing', () => load(broken('vae', without('decoder.conv_in.bias'))), 'ERR_WEIGHTS', /1 missing: decoder\.conv_in\.bias$/],
    ['a tensor too many', () => load(broken('text_encoder', (all) => ({ ...all, stray: filled('x', [1]) }))), 'ERR_WEIGHTS', /1 unexpected: stray$/],
    ['all tensors others', () => load(broken('unet', () => ({ stray: filled('x', [1]) }))), 'ERR_WEIGHTS', /\d+ missing: .*, \.\.\.; 1 unexpected: stray$/],
    ['NaN among the weights', () => use(broken('unet', spoilt(NaN))), 'ERR_NOT_FINITE', /mid_block\.resnets\.0\.conv1\.weight, received 1 of \d+ NaN or infinite/],
    ['infinity among the weights', () => use(broken('unet', spoilt(-Infinity))), 'ERR_NOT_FINITE', /mid_block\.resnets\.0\.conv1\.weight/],
    ['NaN in a bias of the UNet', () => load(broken('unet', spoilt(NaN, 'conv_in.bias'))), 'ERR_NOT_FINITE', /in conv_in\.bias, received 1 of \d+/],
    ['NaN in a bias of the decoder', () => load(broken('vae', spoilt(NaN, 'decoder.conv_in.bias'))), 'ERR_NOT_FINITE', /in decoder\.conv_in\.bias, received 1 of \d+/],
    ['NaN in a bias of the text encoder', () => load(broken('text_encoder', spoilt(NaN, 'text_model.encoder.layers.0.mlp.fc1.bias'))), 'ERR_NOT_FINITE', /mlp\.fc1\.bias/],
    ['NaN in an embedding', () => load(broken('text_encoder', spoilt(NaN, 'text_model.embeddings.token_embedding.weight'))), 'ERR_NOT_FINITE', /token_embedding\.weight/],
    ['NaN in a norm', () => load(broken('vae', spoilt(NaN, 'encoder.conv_norm_out.bias'))), 'ERR_NOT_FINITE', /encoder\.conv_norm_out\.bias/],
    ['weights of the decoder that overflow', () => use(broken('vae', (all) => ({ ...all, 'decoder.conv_out.bias': { ...(all['decoder.conv_out.bias'] as Tensor), data: new Float32Array(3).fill(3e38) }, 'decoder.conv_out.weight': { ...(all['decoder.conv_out.weight'] as Tensor<'float32'>), data: (all['decoder.conv_out.weight'] as Tensor<'float32'>).data.fill(3e38) } }))), 'ERR_NOT_FINITE', /in the decoded pixels/],
    ['weights of whole numbers', () => load(broken('unet', (all) => ({ ...all, [CONV_IN]: { data: new Int32Array(32 * 36), shape: [32, 4, 3, 3], dtype: 'int32' } }))), 'ERR_DTYPE', /conv_in\.weight/],
    ['an LFS pointer in a folder', () => load(pointer), 'ERR_FILE_FORMAT', /LFS/],
    ['an LFS pointer as single file', () => load(join(root, 'pointer.safetensors')), 'ERR_FILE_FORMAT', /LFS/],
    ['a file cut off', () => load(cut), 'ERR_FILE_FORMAT', /diffusion_pytorch_model\.safetensors/],
    ['Stable Diffusion XL', () => load(withIndex('StableDiffusionXLPipeline')), 'ERR_FILE_FORMAT', /is a Stable Diffusion XL model .*seedbed loads Stable Diffusion 1\.x and 2\.x$/],
    ['Flux', () => load(withIndex('FluxPipeline')), 'ERR_FILE_FORMAT', /is a Flux model/],
    ['a pickle', () => load(join(root, 'model.ckpt')), 'ERR_FILE_FORMAT', /a pickle, which can run any program/],
    ['a scheduler unheard of', () => load(scheduler), 'ERR_FILE_FORMAT', /beta_schedule/],
    ['half a tokenizer', () => load(vocabulary), 'ERR_FILE_NOT_FOUND', /merges\.txt/],
    ['no GPU in this build', () => loadDiffusion(good, { device: 'cuda' }), 'ERR_NO_CUDA', /CUDA/],
    ['an unknown dtype', () => loadDiffusion(good, { dtype: 'float64' as never }), 'ERR_INVALID_ARGUMENT', /'auto', 'float32', 'bfloat16', 'float16' for dtype, received 'float64'/],
    ['an unknown option', () => loadDiffusion(good, { dtpye: 'float32' } as never), 'ERR_INVALID_ARGUMENT', /Unknown option 'dtpye' for loadDiffusion; did you mean 'dtype'\?$/],
    ['no threads', () => loadDiffusion(good, { threads: 0 }), 'ERR_INVALID_ARGUMENT', /at least 1 for threads, received 0/],
    ['an unknown variant', () => load(good, { variant: 'fp16' }), 'ERR_FILE_NOT_FOUND', /variant 'fp16'/],
  ]);
});

t.test('a model of the hub without network', async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve)); // nobody listens there now
  const home = join(root, 'hub');
  mkdirSync(home);
  const script = `import { loadDiffusion } from 'seedbed';
const { code, message } = await loadDiffusion('someone/a-model').then(() => ({}), (error) => error);
console.log(JSON.stringify({ code, message }));`;
  const { stdout, stderr } = await runScript(script, { env: { HF_HOME: home, HF_ENDPOINT: `http://127.0.0.1:${port}`, HF_HUB_OFFLINE: '', HF_HUB_CACHE: '', HUGGINGFACE_HUB_CACHE: '' } });
  const { code, message } = JSON.parse(stdout) as { code: string; message: string };
  t.equal(code, 'ERR_DOWNLOAD', stderr);
  t.match(message, /someone\/a-model/);
  t.notMatch(message, /\n/);
});

t.test('calls that are wrong', async (t) => {
  using sd = await load(good);
  const generate = (options: Record<string, unknown>) => (): unknown => sd.generate({ prompt: 'a cat', steps: 2, threads: 1, ...options });
  const noise = (shape: number[]): Tensor => filled('input.x', shape);
  await checkCases(t, [
    ['no options', () => sd.generate(undefined as never), 'ERR_INVALID_ARGUMENT', /prompt/],
    ['no prompt', generate({ prompt: undefined }), 'ERR_INVALID_ARGUMENT', /a text, a list of texts, or a tensor .* for prompt, received undefined/],
    ['a prompt that is a number', generate({ prompt: 7 }), 'ERR_INVALID_ARGUMENT', /a text, a list of texts, or a tensor .* for prompt, received 7/],
    ['a list of prompts with a number', generate({ prompt: ['a', 7] }), 'ERR_INVALID_ARGUMENT', /prompt/],
    ['no prompts', generate({ prompt: [] }), 'ERR_INVALID_ARGUMENT', /prompt/],
    ['states of another width', generate({ prompt: noise([1, 77, 31]) }), 'ERR_SHAPE', /prompt must have shape \[\*, \*, 32\], got \[1, 77, 31\]/],
    ['negative states of another width', generate({ negativePrompt: noise([1, 77, 31]) }), 'ERR_SHAPE', /negativePrompt must have shape .*got \[1, 77, 31\]/],
    ['negative states of another length', generate({ negativePrompt: noise([1, 76, 32]) }), 'ERR_SHAPE', /negativePrompt must have shape \[\*, 77, 32\]/],
    ['states without rows', generate({ prompt: noise([77, 32]) }), 'ERR_SHAPE', /prompt must have shape/],
    ['three negative prompts for two', generate({ prompt: ['a', 'b'], negativePrompt: ['c', 'd', 'e'] }), 'ERR_INVALID_ARGUMENT', /1 or 2 texts for negativePrompt, received 3/],
    ['a width that is no multiple', generate({ width: 33 }), 'ERR_INVALID_ARGUMENT', /a multiple of 2 for width, received 33/],
    ['a height that is no multiple', generate({ height: 17 }), 'ERR_INVALID_ARGUMENT', /a multiple of 2 for height, received 17/],
    ['no width', generate({ width: 0 }), 'ERR_INVALID_ARGUMENT', /at least 1 for width, received 0/],
    ['a width with a fraction', generate({ width: 16.5 }), 'ERR_INVALID_ARGUMENT', /an integer for width, received 16\.5/],
    ['a width beyond the limit', generate({ width: 16_386 }), 'ERR_INVALID_ARGUMENT', /at most 16384 for width/],
    ['no steps', generate({ steps: 0 }), 'ERR_INVALID_ARGUMENT', /at least 1 for steps, received 0/],
    ['too many steps', generate({ steps: 10_001 }), 'ERR_INVALID_ARGUMENT', /at most 10000 for steps, received 10001/],
    ['a sampler unheard of', generate({ sampler: 'eular' }), 'ERR_INVALID_ARGUMENT', /sampler/],
    ['an unknown option', generate({ stpes: 3 }), 'ERR_INVALID_ARGUMENT', /Unknown option 'stpes' for generate; did you mean 'steps'\?$/],
    ['a mask without picture', generate({ mask: picture(16, 16, 1) }), 'ERR_INVALID_ARGUMENT', /Expected an image with the mask/],
    ['strength without picture', generate({ strength: 0.5 }), 'ERR_INVALID_ARGUMENT', /Expected an image with strength/],
    ['a strength above 1', generate({ image: picture(16, 16, 3), strength: 1.5 }), 'ERR_INVALID_ARGUMENT', /at most 1 for strength/],
    ['a picture of too few bytes', generate({ image: { data: new Uint8Array(5), width: 16, height: 16, channels: 3 } }), 'ERR_INVALID_ARGUMENT', /image/],
    ['a picture of five channels', generate({ image: { data: new Uint8Array(16 * 16 * 5), width: 16, height: 16, channels: 5 } }), 'ERR_INVALID_ARGUMENT', /channels/],
    ['three pictures for one', generate({ image: [picture(16, 16, 3), picture(16, 16, 3), picture(16, 16, 3)] }), 'ERR_SHAPE', /Expected 1 or 1 rows of image, received 3/],
    ['latents of another shape', generate({ latents: noise([1, 4, 9, 8]) }), 'ERR_SHAPE', /latents must have shape \[1, 4, 8, 8\], got \[1, 4, 9, 8\]/],
    ['latents that are none', generate({ latents: [1, 2, 3] }), 'ERR_INVALID_ARGUMENT', /a tensor for latents, received a list of 3/],
    ['latents that are not finite', generate({ latents: { data: new Float32Array(256).fill(NaN), shape: [1, 4, 8, 8], dtype: 'float32' } }), 'ERR_NOT_FINITE', /latents/],
    ['a seed below 0', generate({ seed: -1 }), 'ERR_INVALID_ARGUMENT', /at least 0 for seed/],
    ['FreeU without its factors', generate({ freeU: {} }), 'ERR_INVALID_ARGUMENT', /freeU\.s1/],
    ['more layers left out than there are', generate({ clipSkip: 3 }), 'ERR_INVALID_ARGUMENT', /clipSkip/],
    ['two pictures to invert', () => sd.invert({ image: picture(16, 16, 3), latents: noise([1, 4, 8, 8]) }), 'ERR_INVALID_ARGUMENT', /one of image and latents/],
    ['nothing to invert', () => sd.invert({}), 'ERR_INVALID_ARGUMENT', /one of image and latents/],
    ['latents of other channels to invert', () => sd.invert({ latents: noise([1, 3, 8, 8]), steps: 2 }), 'ERR_SHAPE', /latents must have shape .*got \[1, 3, 8, 8\]/],
    ['latents of other dimensions to invert', () => sd.invert({ latents: noise([4, 8, 8]), steps: 2 }), 'ERR_SHAPE', /latents/],
    ['a kind of inversion unheard of', () => sd.invert({ latents: noise([1, 4, 8, 8]), kind: 'ddpm' as never }), 'ERR_INVALID_ARGUMENT', /'ddim', 'edit-friendly' for kind/],
    ['no text to encode', () => sd.encodePrompt(7 as never), 'ERR_INVALID_ARGUMENT', /text/],
    ['an unknown option of a call', () => sd.encodePrompt('a', { clpSkip: 1 } as never), 'ERR_INVALID_ARGUMENT', /Unknown option 'clpSkip' for encodePrompt; did you mean 'clipSkip'\?$/],
    ['a timestep that is a text', () => sd.predictNoise({ latents: noise([1, 4, 8, 8]), context: noise([1, 77, 32]), timestep: '1' as never }), 'ERR_INVALID_ARGUMENT', /a number or a list of numbers for timestep, received '1'/],
    ['no picture to encode', () => sd.encodeImage({} as never), 'ERR_INVALID_ARGUMENT', /image/],
    ['no pictures to encode', () => sd.encodeImage([]), 'ERR_INVALID_ARGUMENT', /at least 1 for pictures/],
    ['latents of other channels to decode', () => sd.decodeLatents(noise([1, 3, 8, 8])), 'ERR_SHAPE', /latents must have shape .*got \[1, 3, 8, 8\]/],
    ['latents of other dimensions to decode', () => sd.decodeLatents(noise([4, 8])), 'ERR_SHAPE', /latents/],
  ]);
  t.same((await sd.generate({ prompt: 'a cat', steps: 1 })).images[0]?.width, 16, 'and the model goes on working');
});

t.test('a picture larger than memory is refused before any work', async (t) => {
  using sd = await load(good);
  const sizes = { width: 16_384, height: 16_384 };
  const calls: [string, GenerateOptions, RegExp, number][] = [
    ['1024 at once', { prompt: 'a cat', ...sizes, count: 1024, batchSize: 1024, tiled: true }, /16384 x 16384 needs about \d+\.\d GB of \d+\.\d GB; make it smaller$/, Infinity],
    ['one', { prompt: 'a cat', ...sizes, tiled: false }, /16384 x 16384 needs about 549\.8 GB of \d+\.\d GB; make it smaller, or set tiled$/, 550e9],
  ];
  const many = Array.from({ length: 2000 }, () => picture(16, 16, 3));
  const latents = (side: number): Tensor => ({ data: new Float32Array(0), shape: [1, 4, side, side], dtype: 'float32' });
  for (const [title, call] of [
    ['encoded', () => sd.encodeImage(many, sizes)],
    ['encoded in tiles', () => sd.encodeImage(many, { ...sizes, tiled: true })],
    ['decoded', () => sd.decodeLatents(latents(2 ** 20))],
  ] as const) t.match(await thrown(call), { code: 'ERR_OUT_OF_MEMORY', message: /fit into memory, \d+ x \d+ needs about/ }, title);
  for (const [title, options, message, limit] of calls) {
    if (totalmem() > limit) {
      t.comment(`${title} is left out: this machine's memory holds it`);
      continue;
    }
    const before = process.memoryUsage().rss;
    const begin = performance.now();
    t.match(await thrown(() => sd.generate(options)), { code: 'ERR_OUT_OF_MEMORY', message }, title);
    t.ok(performance.now() - begin < 500, 'at once');
    t.ok(process.memoryUsage().rss - before < 50e6, 'and without memory');
  }
});

t.test('a model that is disposed of', async (t) => {
  const sd = await load(good);
  const { unet, vae, textEncoder, imageEncoder } = sd.components;
  sd.dispose();
  sd.dispose();
  const tensor = filled('input.x', [1, 4, 8, 8]);
  const inversion = { kind: 'edit-friendly', steps: 1, timesteps: [1], latents: [tensor], noises: [tensor] } as const;
  const uses: Record<string, () => unknown> = {
    info: () => sd.info,
    generate: () => sd.generate({ prompt: 'a cat' }),
    encodePrompt: () => sd.encodePrompt('a cat'),
    predictNoise: () => sd.predictNoise({ latents: tensor, timestep: 1, context: filled('input.x', [1, 77, 32]) }),
    encodeImage: () => sd.encodeImage(picture(16, 16, 3)),
    decodeLatents: () => sd.decodeLatents(tensor),
    invert: () => sd.invert({ latents: tensor }),
    replay: () => sd.replay({ ...inversion, timesteps: [1], latents: [tensor], noises: [tensor] }, {}),
    'unet weights': () => unet.weights(),
    'vae weights': () => vae.weights(),
    'vae.decode': () => vae.decode(tensor),
    'vae.encode': () => vae.encode(filled('input.x', [1, 3, 16, 16])),
    'textEncoder.encode': () => textEncoder.encode({ data: new BigInt64Array(77), shape: [1, 77], dtype: 'int64' }),
    'imageEncoder.encode': () => imageEncoder.encode(filled('input.x', [1, 3, 32, 32])),
  };
  for (const [name, use] of Object.entries(uses)) t.match(await thrown(use), { code: 'ERR_DISPOSED', message: /Expected a diffusion model that is not disposed/ }, name);
});

t.test('failures leave nothing behind', async (t) => {
  const script = `import { loadDiffusion } from 'seedbed';
const [good, bad] = process.argv.slice(1);
const sd = await loadDiffusion(good, { threads: 1, dtype: 'float32' });
const fail = async () => {
  await loadDiffusion(bad, { threads: 1, dtype: 'float32' }).then(() => process.exit(1), () => {});
  await sd.generate({ prompt: 'a cat', steps: 2, clipSkip: 3 }).then(() => process.exit(1), () => {});
  await sd.generate({ prompt: 'a cat', steps: 1, decode: false, latents: { data: new Float32Array(256).fill(NaN), shape: [1, 4, 8, 8], dtype: 'float32' } }).then(() => process.exit(1), () => {});
};
const resident = async () => { for (let i = 0; i < 3; i++) { globalThis.gc(); await new Promise(setImmediate); } return process.memoryUsage().rss; };
for (let i = 0; i < 20; i++) await fail();
const before = await resident();
for (let i = 0; i < 60; i++) await fail();
console.log(((await resident() - before) / 2 ** 20).toFixed(1));`;
  const bad = broken('vae', ({ 'decoder.conv_in.bias': _, ...rest }) => rest);
  const { code, stdout, stderr } = await runScript(script, { args: [good, bad], flags: ['--expose-gc'], env: { MALLOC_ARENA_MAX: '2' } });
  t.equal(code, 0, stderr);
  t.ok(Number(stdout) < 20, `60 failed loads of a model of 3 MB grew the process by ${stdout.trim()} MiB`);
});
