import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { doctor, loadDiffusion, type Diffusion, type GenerateOptions, type Tensor } from 'seedbed';
import { CUDA_LIBRARIES, findLibtorch } from '#lib/setup/find.js';
import { writeFormulaPipeline } from './formula.js';
import { FAKE_DEVICE, loadPlaced } from './placement.js';
import { picture, runScript, thrown, worst } from './support.js';

const root = t.testdir();
const model = writeFormulaPipeline(join(root, 'model'), 'sd1');

/** A folder of links to the libtorch in use, without CUDA's libraries. */
function copyOfLibtorch(name: string): string {
  const { folder } = findLibtorch();
  const copy = join(root, name);
  mkdirSync(join(copy, 'lib'), { recursive: true });
  const own: readonly string[] = CUDA_LIBRARIES; // to be written, and not through a link
  for (const file of readdirSync(join(folder, 'lib'))) if (!own.includes(file)) symlinkSync(join(folder, 'lib', file), join(copy, 'lib', file));
  for (const file of ['build-version', 'version.py']) if (existsSync(join(folder, file))) copyFileSync(join(folder, file), join(copy, file));
  return copy;
}

const LOAD = `import { loadDiffusion } from 'seedbed';
const onCpu = await loadDiffusion(process.argv[1], { threads: 1 });
console.log(onCpu.info.device);
await loadDiffusion(process.argv[1], { device: 'cuda' }).catch(({ code, message }) => console.log(code, message));`;

t.test('without CUDA', { skip: findLibtorch().cuda && 'this libtorch has CUDA' }, async (t) => {
  t.match(await thrown(() => loadDiffusion(model, { device: 'cuda' })), { code: 'ERR_NO_CUDA', message: /Expected a libtorch with CUDA, libtorch 2\.13\.0\S* in '.*' has none: name the folder of one in SEEDBED_LIBTORCH/ });
  t.match(await thrown(() => loadDiffusion(model, { dtype: 'float16' })), { code: 'ERR_INVALID_ARGUMENT', message: /dtype on the CPU, received 'float16', which is for device 'cuda'/ });
  const { cuda, choice } = await doctor();
  t.match(cuda, { ok: false, reason: /SEEDBED_LIBTORCH/ });
  t.equal(choice.device, 'cpu');
});

t.test('with CUDA libraries that do not open', async (t) => {
  const folder = copyOfLibtorch('broken');
  for (const library of CUDA_LIBRARIES) writeFileSync(join(folder, 'lib', library), 'no library');
  const { stdout, stderr } = await runScript(LOAD, { args: [model], env: { SEEDBED_LIBTORCH: folder } });
  t.match(stdout, /^cpu\nERR_NO_CUDA .*broken' to open its CUDA libraries, it does not \(.*libc10_cuda\.so: (file too short|invalid ELF header)\): install/, `the CPU works, and the loader's reason is told. ${stderr}`);
});

t.test('with CUDA libraries and no GPU', async (t) => {
  const folder = copyOfLibtorch('idle');
  for (const library of CUDA_LIBRARIES) {
    const source = join(root, `${library}.c`);
    writeFileSync(source, `#include <stdio.h>\n__attribute__((constructor)) static void opened(void) { puts("${library}"); fflush(stdout); }\n`);
    execFileSync('cc', ['-shared', '-fPIC', '-o', join(folder, 'lib', library), source]);
  }
  const { stdout, stderr } = await runScript(LOAD, { args: [model], env: { SEEDBED_LIBTORCH: folder } });
  t.match(stdout, /^libc10_cuda\.so\nlibtorch_cuda\.so\ncpu\nERR_NO_CUDA Expected a GPU that .*idle' can use, it finds none: see that nvidia-smi/, `opened in order. ${stderr}`);
});

/** The same calls on both devices; what they give must not differ by more than other kernels do. */
const CLOSE = { rtol: 5e-4, atol: 5e-4 };
const both = [await loadPlaced(model, { device: FAKE_DEVICE }), await loadDiffusion(model, { device: 'cpu', dtype: 'float32', threads: 1 })] as const;
t.teardown(() => both.forEach((sd) => sd.dispose()));

/** Some dozens of roundings at 2^-12 each, one after the other. */
const FLOAT16_SHARE = 0.01;

async function compare(call: (sd: Diffusion) => PromiseLike<readonly ArrayLike<number>[]>): Promise<string | undefined> {
  const [device, cpu] = (await Promise.all(both.map(call))) as [ArrayLike<number>[], ArrayLike<number>[]];
  if (device.length !== cpu.length || cpu.length === 0) return `${device.length} for ${cpu.length}`;
  const ratios = cpu.map((expected, i) => worst(device[i] as ArrayLike<number>, expected, CLOSE));
  return ratios.every((ratio) => ratio <= 1) ? undefined : ratios.map((ratio) => ratio.toFixed(3)).join(', ');
}

t.test('on a device that mixes with no tensor of the CPU, everything gives what it gives on the CPU', async (t) => {
  t.same(both.map(({ info }) => info.device), [FAKE_DEVICE, 'cpu']);
  const image = picture(32, 32, 3);
  const mask = { data: Uint8Array.from({ length: 32 * 32 }, (_, i) => (i % 32 >= 16 ? 255 : 0)), width: 32, height: 32, channels: 1 as const };
  const runs: [string, Partial<GenerateOptions>][] = [
    ['text', { negativePrompt: 'a dog', count: 3, batchSize: 2 }],
    ['without guidance', { guidanceScale: 1 }],
    ['guidance rescaled, FreeU', { guidanceRescale: 0.7, freeU: { s1: 0.9, s2: 0.2, b1: 1.2, b2: 1.4 } }],
    ['image', { image, strength: 0.6 }],
    ['inpainting', { image, mask, strength: 1 }],
    ['features cached', { featureCache: { interval: 2 } }],
    ['tokens merged', { tokenMerging: { ratio: 0.5 } }],
    ['in tiles', { tiled: true, width: 64, height: 64 }],
    ['attention', { batchSize: 2, count: 2, attention: { swap: { from: 1, to: 0 }, contrast: { strength: 1.5, pictures: [0] }, record: ['up_blocks'] } }],
    ...(['ddpm', 'euler_ancestral', 'heun', 'dpmpp_2m_sde', 'unipc', 'lms', 'lcm', 'kdpm2'] as const).map((sampler): [string, Partial<GenerateOptions>] => [sampler, { sampler }]),
  ];
  for (const [title, options] of runs) {
    const failure = await compare(async (sd) => {
      const { images, latents, attention = [] } = await sd.generate({ prompt: 'a cat', steps: 4, width: 32, height: 32, seed: 3, decode: options.sampler === undefined, ...options });
      return [latents.data, ...images.map(({ data }) => Float32Array.from(data, (value) => Math.round(value / 255))), ...attention.map(({ probabilities }) => probabilities.data)];
    });
    t.equal(failure, undefined, title);
  }

  t.equal(await compare(async (sd) => {
    const previews: Float32Array[] = [];
    for await (const event of sd.generate({ prompt: 'a cat', steps: 3, previewEvery: 1, width: 32, height: 32 })) if (event.type === 'step') previews.push(...(event.preview ?? []).map(({ data }) => Float32Array.from(data, (value) => Math.round(value / 255))));
    return previews;
  }), undefined, 'previews');
  for (const kind of ['ddim', 'edit-friendly'] as const) {
    t.equal(await compare(async (sd) => {
      const found = await sd.invert({ image, prompt: 'a cat', kind, steps: 4, guidanceScale: 2, batchSize: 2 });
      const again: Tensor<'float32'>[] = kind === 'ddim' ? [] : [await sd.replay(found, { prompt: 'a dog', guidanceScale: 3, skip: 1 })];
      return [...found.latents, ...again].map(({ data }) => data);
    }), undefined, `inversion, ${kind}`);
  }
  t.equal(await compare(async (sd) => [(await sd.encodePrompt(['a cat', 'a dog'], { clipSkip: 1 })).data, (await sd.encodeImage(image)).data]), undefined, 'encoders');
  t.equal(await compare((sd) => Promise.resolve(Object.values(sd.components.unet.weights()).map(({ data }) => data as Float32Array))), undefined, 'weights');
});

t.test('float16 on a device, what a GPU gets unless told otherwise', async (t) => {
  using device = await loadPlaced(model, { device: FAKE_DEVICE, dtype: 'float16' });
  using cpu = await loadPlaced(model, { dtype: 'float16' });
  const options = { prompt: 'a cat', guidanceScale: 1, steps: 4, width: 32, height: 32, freeU: { s1: 0.9, s2: 0.2, b1: 1.2, b2: 1.4 }, attention: { record: ['mid_block'] } };
  const [a, b] = [await device.generate(options), await cpu.generate(options)];
  const share = Math.hypot(...a.latents.data.map((value, i) => value - (b.latents.data[i] as number))) / Math.hypot(...b.latents.data);
  t.ok(share < FLOAT16_SHARE, `latents (${share.toFixed(4)} of their length)`); // NaN, too, fails
  t.ok(worst(a.attention?.[0]?.probabilities.data ?? [], b.attention?.[0]?.probabilities.data ?? [1], { atol: 0.01 }) <= 1, 'attention');
  t.equal(a.latents.dtype, 'float32');
});

t.test('a model on a device is saved as any other', async (t) => {
  const folder = join(root, 'saved');
  await both[0].save(folder);
  using again = await loadDiffusion(folder, { device: 'cpu', dtype: 'float32' });
  t.same(again.components.vae.weights(), both[1].components.vae.weights());
});
