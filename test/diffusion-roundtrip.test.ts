import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { packageRoot } from '#lib/setup/find.js';
import { loadDiffusion, readSafetensors, trainLora, type Diffusion, type SaveEvent, type Tensor } from 'seedbed';
import { filled, storedModel, worstStored, writeFormulaPipeline } from './formula.js';
import { picture, run, thrown } from './support.js';

const CLOSE = { rtol: 1e-4, atol: 1e-4 };

interface Plain {
  shape: number[];
  values: number[];
}

/** What scripts/golden/diffusers_roundtrip.py prints. */
interface Outputs {
  prompt: string;
  timestep: number;
  steps: number;
  guidance: number;
  seed: number;
  ids: number[];
  context: Plain;
  latents: Plain;
  noise: Plain;
  generated: Plain;
  image: Plain;
}

const root = t.testdir();
const nets = { unet: storedModel('unet', 'small'), vae: storedModel('vae', 'small'), text: storedModel('text', 'projection'), vision: storedModel('vision', 'vision') };
const load = (folder: string): PromiseLike<Diffusion> => loadDiffusion(folder, { dtype: 'float32', threads: 1 });

t.test('a folder that cannot be saved', async (t) => {
  const folder = writeFormulaPipeline(join(root, 'source'), 'sd1', undefined, nets);
  using sd = await load(folder);
  const cases: [string, () => unknown, string, RegExp][] = [
    ['no path', () => sd.save(''), 'ERR_INVALID_ARGUMENT', /path of a folder/],
    ['an unknown dtype', () => sd.save(join(root, 'x'), { dtype: 'int4' as never }), 'ERR_INVALID_ARGUMENT', /for dtype, received 'int4'/],
    ['an unknown option', () => sd.save(join(root, 'x'), { dtpye: 'float32' } as never), 'ERR_INVALID_ARGUMENT', /did you mean 'dtype'/],
    ['a folder with content', () => sd.save(folder), 'ERR_FILE_WRITE', /new or empty/],
    ['no folder above', () => sd.save(join(root, 'none', 'x')), 'ERR_FILE_NOT_FOUND', /none/],
    ['aborted', () => sd.save(join(root, 'x'), { signal: AbortSignal.abort(new Error('never mind')) }), '', /never mind/],
  ];
  for (const [title, call, code, message] of cases) t.match(await thrown(call), { ...(code && { code }), message }, title);
  const job = sd.save(join(root, 'x'));
  for await (const { part } of job) if (part === 'unet') break;
  t.match(await thrown(() => job), { code: 'ERR_CANCELLED' });
  t.same(readdirSync(root).filter((name) => name.includes('x')), [], 'nothing is left of them');
  sd.dispose();
  t.match(await thrown(() => sd.save(join(root, 'x'))), { code: 'ERR_DISPOSED' });
});

t.test('a saved folder is the model', async (t) => {
  const folder = join(root, 'source');
  using sd = await load(folder);
  const call = { latents: filled('input.latents', [1, 4, 8, 8]), context: filled('input.context', [1, 77, 32]), timestep: 481 };
  const events: SaveEvent[] = [];
  for await (const event of sd.save(join(root, 'same'))) events.push(event);
  t.same(events.map(({ part, done, total }) => `${part} ${done} ${total}`), ['textEncoder 0 4', 'unet 1 4', 'vae 2 4', 'imageEncoder 3 4']);
  using again = await load(join(root, 'same'));
  t.same({ ...again.info, model: 'source' }, sd.info);
  t.ok(Buffer.from((await again.predictNoise(call)).data.buffer).equals(Buffer.from((await sd.predictNoise(call)).data.buffer)), 'the same bytes come out');
  t.same(again.tokenizer.encode('a red cat').ids, sd.tokenizer.encode('a red cat').ids);
  for (const [dtype, bytes] of [['float16', 2], ['bfloat16', 2], ['float32', 4]] as const) {
    await sd.save(join(root, dtype), { dtype });
    const file = join(root, dtype, 'unet', 'diffusion_pytorch_model.safetensors');
    const { tensors } = readSafetensors(file);
    t.ok(Object.values(tensors).every((tensor) => tensor.dtype === dtype) && Math.abs(statSync(file).size / (bytes * again.info.unetParameters) - 1) < 0.1, dtype);
  }
  using half = await load(join(root, 'float16'));
  const noise = await sd.predictNoise(call);
  // float16 keeps 11 bits of each weight; some tens of layers.
  t.ok(worstStored(await half.predictNoise(call), { shape: noise.shape, step: 1, values: [...noise.data] }, { rtol: 0.02, atol: 0.02 }) <= 1, 'near it from half precision');
});

const python = process.env['SEEDBED_PYTHON'] ?? '';
const skip = python === '' ? 'SEEDBED_PYTHON names no Python with diffusers' : !existsSync(python) && `there is no ${python}`;

async function reference(command: 'make' | 'check', folder: string, ...options: string[]): Promise<Outputs> {
  const { stdout } = await run(python, [join(packageRoot, 'scripts', 'golden', 'diffusers_roundtrip.py'), command, folder, ...options], { maxBuffer: 2 ** 26, env: { ...process.env, HF_HUB_OFFLINE: '1' } });
  return JSON.parse(stdout) as Outputs;
}

async function compare(t: Test, sd: Diffusion, expected: Outputs): Promise<void> {
  const near = (actual: { data: ArrayLike<number>; shape: readonly number[] }, { shape, values }: Plain, name: string, tolerance: { rtol?: number; atol: number } = CLOSE): void => {
    const ratio = worstStored(actual, { shape, step: 1, values }, tolerance);
    t.ok(ratio <= 1, `${name} (${ratio.toFixed(3)})`);
  };
  t.same(sd.tokenizer.encode(expected.prompt).ids, expected.ids, 'token ids');
  const context = await sd.encodePrompt(expected.prompt);
  near(context, expected.context, 'embedding');
  const latents: Tensor = { data: Float32Array.from(expected.latents.values), shape: expected.latents.shape, dtype: 'float32' };
  near(await sd.predictNoise({ latents, timestep: expected.timestep, context }), expected.noise, 'UNet');
  const { steps, guidance: guidanceScale, seed, prompt } = expected;
  const { latents: generated, images } = await sd.generate({ prompt, steps, guidanceScale, seed, sampler: 'ddim' });
  near(generated, expected.generated, 'generated latents');
  const { data, width, height } = images[0] as { data: Uint8Array; width: number; height: number };
  const planes = Float32Array.from({ length: data.length }, (_, i) => (data[(i % (width * height)) * 3 + Math.floor(i / (width * height))] ?? NaN) / 255);
  near({ data: planes, shape: [1, 3, height, width] }, expected.image, 'picture, but for rounding to bytes', { atol: 0.5 / 255 + 1e-3 });
}

for (const [name, options] of [['sd1', []], ['sd2', ['--sd2']]] as const) {
  t.test(`${name}: a folder of diffusers here, and a folder of ours in diffusers`, { skip, timeout: 170_000 }, async (t) => {
    const made = await reference('make', join(root, name), ...options);
    // The script samples with DDIM and clips nothing; a config of PNDM does not say that.
    const scheduler = join(root, name, 'scheduler', 'scheduler_config.json');
    writeFileSync(scheduler, JSON.stringify({ ...(JSON.parse(readFileSync(scheduler, 'utf8')) as object), clip_sample: false }));
    using sd = await load(join(root, name));
    await compare(t, sd, made);
    await sd.save(join(root, `${name}-ours`));
    const read = await reference('check', join(root, `${name}-ours`));
    t.same(read.ids, made.ids, 'diffusers finds the same token ids in it');
    await compare(t, sd, read);
    // An adapter trained here, strong enough to matter, gives the same picture in both.
    const lora = await trainLora(sd, { images: [picture(64, 64, 3)], prompt: 'a red cat', rank: 2, alpha: 4, steps: 3, size: 64, lr: 0.05, warmupSteps: 0, threads: 1 });
    sd.loras.add(lora.weights, { name: 'trained' });
    for (const format of ['diffusers', 'kohya'] as const) {
      const [file = ''] = await lora.save(join(root, `${name}.${format}.safetensors`), { format });
      const adapted = await reference('check', join(root, `${name}-ours`), '--lora', file);
      t.notSame(adapted.noise.values.slice(0, 8), read.noise.values.slice(0, 8), `${format}: diffusers has loaded it`);
      await compare(t, sd, adapted);
    }
  });
}
