import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { fractals, type AffineMap, type Ifs, type RenderOptions, type Tensor } from 'seedbed';
import { native } from '#lib/native.js';
import { packageRoot } from '#lib/setup/find.js';
import { golden, refused, thrown } from './support.js';

const run = promisify(execFile);
const nvcc = await run('nvcc', ['--version']).then(() => true, () => false);
const small = { size: 32, points: 700, padding: 0 };
const systems = (count: number, options: Parameters<typeof fractals.sample>[0] = {}): Ifs[] => Array.from({ length: count }, (_, seed) => fractals.sample({ seed, ...options }));
const noCuda = (await thrown(() => fractals.render(systems(1), { ...small, device: 'cuda' }))).code === 'ERR_NO_CUDA';

/** float32 orbits differ from those in float64 in at most 0.15 % of the lit pixels, and about as much from each other. */
const BOUND = 0.0015;

type Draw = (drawn: readonly Ifs[], options: RenderOptions) => Tensor<'uint8'> | PromiseLike<Tensor<'uint8'>>;
const inLoop: Draw = (drawn, options) => native().emulateBlocks({ ...options, systems: drawn });
const onGpu: Draw = (drawn, options) => fractals.render(drawn, { ...options, device: 'cuda' });

/**
 * Compares pictures with the CPU's. Of each, the pixels that differ in units of what may: `bound` of those lit, or one point in the pixel beside, which
 * changes two pixels, or six with patches.
 */
async function worstPicture(draw: Draw, drawn: readonly Ifs[], options: RenderOptions, bound = BOUND): Promise<number> {
  const [cpu, blocks] = [await fractals.render(drawn, options), await draw(drawn, options)];
  const ratios = drawn.map((_, i) => {
    const [a, b] = [fractals.image(blocks, i).data, fractals.image(cpu, i).data];
    return a.filter((value, place) => value !== b[place]).length / Math.max(bound * b.filter((value) => value > 0).length, options.draw === 'point' ? 2 : 6);
  });
  return Math.max(...ratios);
}

t.test('errors', async (t) => {
  const render = (options: RenderOptions) => () => fractals.render(systems(1), { ...small, ...options });
  await refused(t, [
    ['unknown device', render({ device: 'gpu' as never }), 'ERR_INVALID_ARGUMENT', /for device, received 'gpu'/],
    ['double precision', render({ device: 'cuda', precision: 'exact' }), 'ERR_INVALID_ARGUMENT', /Expected precision 'fast' on device 'cuda', received 'exact'/],
    ['pasted patches', render({ device: 'cuda', texture: 'paste' }), 'ERR_INVALID_ARGUMENT', /Expected texture 'iid' for patches on device 'cuda', received 'paste'/],
  ]);
});

t.test('without a GPU, or an addon for one', { skip: !noCuda && 'a GPU renders here' }, async (t) => {
  const message = /^Expected (an addon that was compiled with CUDA.*SEEDBED_CUDA=1 npx seedbed setup --rebuild|a GPU that can draw fractals.*nvidia-smi)/;
  t.match(await thrown(() => fractals.render(systems(1), { device: 'cuda' })), { code: 'ERR_NO_CUDA', message });
  t.same(await fractals.render(systems(2), { ...small, device: 'auto' }), await fractals.render(systems(2), { ...small, device: 'cpu' }), 'auto takes the CPU');
});

t.test('auto renders what a GPU cannot', async (t) => {
  const options = { ...small, texture: 'paste' } as const;
  t.same(await fractals.render(systems(2), { ...options, device: 'auto' }), await fractals.render(systems(2), options));
});

async function compareWithCpu(t: Test, draw: Draw): Promise<void> {
  const { systems: known } = golden('fractal') as { systems: Record<string, { affine: AffineMap[] }> };
  const expanding = systems(40).map((ifs, seed) => fractals.perturb(ifs, { delta: 0.4, seed }));
  const copies = Array.from({ length: 20 }, (_, seed) => fractals.perturb(fractals.sample(), { seed }));
  const cases: [string, readonly Ifs[], RenderOptions][] = [
    ['known systems', Object.values(known).map(({ affine }) => fractals.weigh(affine)), {}],
    ['points', systems(12), { draw: 'point' }],
    ['sparse', systems(12, { sigmaFactor: 3 }), { mask: 'fill' }],
    ['dense', systems(12, { sigmaFactor: 5 }), {}],
    ['3 maps, 2 bits a step', systems(6, { maps: 3, sigmaFactor: 5 }), { size: 256 }],
    ['8 maps, 4 bits a step', systems(6, { maps: 8, sigmaFactor: 14 }), { size: 256 }],
    ['a size that is no whole word', systems(8), { size: 61, points: 4000, padding: 0, value: 255 }],
    ['proportions kept, from the fixed point', systems(8), { size: 100, points: 9000, aspect: 'keep', start: 'fixedPoint' }],
    ['a large picture', systems(2), { size: 1500 }],
    ['many of one sequence, then others', [...copies, ...systems(3), fractals.sample({ maps: 5, sigmaFactor: 8 })], { size: 128 }],
    ['expanding systems', expanding, { size: 128, points: 20_000 }],
  ];
  for (const [name, drawn, options] of cases) {
    const worst = await worstPicture(draw, drawn, options);
    t.ok(worst <= 1, `${name}: ${worst}`);
  }
  for (const points of [1, 2, 31, 32, 33, 8191, 8192, 8193]) t.ok((await worstPicture(draw, systems(3), { size: 64, points, draw: 'point' })) <= 1, `${points} points, threads without any`);
}

async function compareSpecialOrbits(t: Test, draw: Draw): Promise<void> {
  const growing = (factor: number): Ifs => ({ affine: [[[factor, 0, 1], [0, 0.5, 1]], [[0.5, 0, 0], [0, factor, 0]]], weights: [0.9, 0.1] });
  const drawn = [1.01, 1.5, 3, 1e200, 1.1].map(growing);
  t.same(await draw(drawn, small), await fractals.render(drawn, small), 'orbits that leave single precision are the CPU\'s own');
  const [c, s, r] = [Math.cos(1), Math.sin(1), 0.9999];
  const ifs = fractals.weigh([
    [[r * c, -r * s, 0.001], [r * s, r * c, 0]],
    [[r * c, r * s, 0], [-r * s, r * c, 0.001]],
  ]);
  // The bound between the CPU's fast and exact orbits: rounding is not forgotten either.
  const worst = await worstPicture(draw, [ifs], { draw: 'point', size: 128, points: 20_000 }, 0.02);
  t.ok(worst <= 1, `slow contraction does not wash out where a chunk begins: ${worst}`);
}

const renderers: [string, Draw, string | false][] = [
  ["the GPU's code in a loop", inLoop, false],
  ['the GPU', onGpu, noCuda && 'no GPU here'],
];
for (const [name, draw, skip] of renderers)
  t.test(`${name} draws what the CPU draws`, { skip }, async (t) => {
    await compareWithCpu(t, draw);
    await compareSpecialOrbits(t, draw);
  });

t.test('nvcc compiles and links the renderer without a warning', { skip: !nvcc && 'no nvcc here' }, async (t) => {
  const core = join(packageRoot, 'native', 'core');
  const failure = join(t.testdir({ 'failure.cpp': '#include "fractal/cuda_failure.h"\nvoid seedbed::fractal::fail_cuda(CudaFailure, const std::string&) { throw 1; }\n' }), 'failure.cpp');
  const flags = ['-std=c++17', '-arch=sm_80', '-Werror=all-warnings', '-Xcompiler=-Wall,-Wextra,-fPIC', '-I', core, '-shared', '-Xlinker=--no-undefined'];
  await t.resolves(run('nvcc', [...flags, '-o', join(t.testdirName, 'render.so'), join(core, 'fractal', 'render_cuda.cu'), failure]));
});
