import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { loadDiffusion, type Diffusion, type GenerateOptions, type Image, type Tensor } from 'seedbed';
import { filled, worstStored, writeFormulaPipeline, type Stored } from './formula.js';
import { golden, picture, worst } from './support.js';

const CLOSE = { rtol: 1e-4, atol: 1e-4 };
// Each step reads what the last one wrote, and guidance multiplies differences by 5: another thread count or another order of sums in the
// nets, each within a few 1e-6, moves the latents of four steps by up to 2e-4.
const CLOSE_LOOP = { rtol: 5e-4, atol: 5e-4 };

interface PipelineRun {
  title: string;
  kind: 'text' | 'image' | 'inpaint';
  model: 'sd1' | 'sd2';
  scheduler: Record<string, unknown>;
  seeds: number[];
  options: {
    width?: number;
    height?: number;
    prompt: string | string[];
    negative_prompt: string | string[];
    num_inference_steps: number;
    guidance_scale: number;
    eta?: number;
    guidance_rescale?: number;
    clip_skip?: number;
    strength?: number;
  };
  latents: Stored;
  image: Stored;
}

const { runs } = golden('diffusion/pipelines') as { runs: PipelineRun[] };

/** White in the right half, as in the golden pipelines. */
function halfMask(size: number): Image {
  return { data: Uint8Array.from({ length: size * size }, (_, i) => (i % size >= size / 2 ? 255 : 0)), width: size, height: size, channels: 1 };
}

function optionsOf({ kind, options, seeds }: PipelineRun): GenerateOptions {
  const single = typeof options.prompt === 'string';
  return {
    prompt: options.prompt,
    negativePrompt: options.negative_prompt,
    steps: options.num_inference_steps,
    guidanceScale: options.guidance_scale,
    seed: seeds[0],
    ...(single && { count: seeds.length }),
    ...(options.width !== undefined && { width: options.width }),
    ...(options.height !== undefined && { height: options.height }),
    ...(options.guidance_rescale !== undefined && { guidanceRescale: options.guidance_rescale }),
    ...(options.clip_skip !== undefined && { clipSkip: options.clip_skip }),
    ...(options.eta !== undefined && { sampler: { type: 'ddim' as const, eta: options.eta } }),
    ...(kind !== 'text' && { image: seeds.map((_, salt) => picture(32, 32, 3, salt)), strength: options.strength }),
    ...(kind === 'inpaint' && { mask: halfMask(32) }),
  };
}

const unit = (image: Image[]): Tensor<'float32'> => {
  const { width, height } = image[0] as Image;
  const data = new Float32Array(image.length * 3 * width * height);
  image.forEach((one, i) => one.data.forEach((value, at) => (data[((i * 3 + (at % 3)) * height * width + Math.floor(at / 3))] = value / 255)));
  return { data, shape: [image.length, 3, height, width], dtype: 'float32' };
};

t.test('pipelines equal diffusers', { timeout: 120_000 }, async (t) => {
  const folders = { sd1: writeFormulaPipeline(t.testdir(), 'sd1'), sd2: '' };
  folders.sd2 = writeFormulaPipeline(join(folders.sd1, 'sd2'), 'sd2');
  for (const run of runs) {
    await t.test(run.title, async (t) => {
      writeFileSync(join(folders[run.model], 'scheduler', 'scheduler_config.json'), JSON.stringify(run.scheduler));
      using sd = await loadDiffusion(folders[run.model], { dtype: 'float32', threads: 1 });
      const { latents, images, seeds } = await sd.generate(optionsOf(run));
      t.same(seeds, run.seeds);
      t.ok(worstStored(latents, run.latents, CLOSE_LOOP) <= 1, `latents (${worstStored(latents, run.latents, CLOSE_LOOP).toFixed(3)})`);
      t.ok(worstStored(unit(images), run.image, { atol: 0.5 / 255 + 1e-3 }) <= 1, `pictures, but for rounding to bytes (${worstStored(unit(images), run.image, { atol: 0.5 / 255 + 1e-3 }).toFixed(3)})`);
    });
  }
});

interface DdimCase {
  model: 'sd1' | 'sd2';
  prediction: string;
  steps: number;
  timesteps: number[];
  latents: number[];
  ids: number[];
  forth: Stored[];
  back: Stored;
}

interface EditFriendlyCase {
  model: 'sd1' | 'sd2';
  guidance: number;
  steps: number;
  timesteps: number[];
  latents: number[];
  noiseSeed: number;
  ids: number[][];
  sequence: Stored[];
  z: Stored[];
  replays: { first: number; result: Stored; error: number }[];
}

/** The reference's prompts for inversions are token ids without words. */
async function statesOf(sd: Diffusion, ids: readonly number[]): Promise<Tensor<'float32'>> {
  return (await sd.components.textEncoder.encode({ data: BigInt64Array.from(ids, BigInt), shape: [1, ids.length], dtype: 'int64' })).states;
}

t.test('inversions equal the reference', async (t) => {
  const inversions = golden('diffusion/inversions') as { ddim: DdimCase[]; editFriendly: EditFriendlyCase[] };
  const near = (t: Test, actual: Tensor | undefined, expected: Stored, name: string): void => {
    const ratio = worstStored(actual as Tensor<'float32'>, expected, CLOSE);
    t.ok(ratio <= 1, `${name} (${ratio.toFixed(3)})`);
  };

  for (const c of inversions.ddim) {
    await t.test(`DDIM, ${c.model}`, async (t) => {
      const { scheduler } = runs.find(({ title, model }) => /DDIM$/.test(title) && model === c.model) as PipelineRun;
      using sd = await loadDiffusion(writeFormulaPipeline(t.testdir(), c.model, scheduler), { dtype: 'float32', threads: 1 });
      const prompt = await statesOf(sd, c.ids);
      const found = await sd.invert({ latents: filled('input.latents', c.latents), prompt, steps: c.steps });
      t.same(found.timesteps, c.timesteps);
      c.forth.forEach((expected, i) => near(t, found.latents[i], expected, `step ${i}`));
      const last = found.latents.at(-1) as Tensor<'float32'>;
      const { latents } = await sd.generate({ latents: last, prompt, guidanceScale: 1, steps: c.steps, sampler: 'ddim', width: 32, height: 32 });
      near(t, latents, c.back, 'back again');
    });
  }

  for (const c of inversions.editFriendly) {
    await t.test(`edit-friendly, guidance ${c.guidance}`, async (t) => {
      using sd = await loadDiffusion(writeFormulaPipeline(t.testdir(), c.model), { dtype: 'float32', threads: 1 });
      const [cond, uncond] = (await Promise.all(c.ids.map((ids) => statesOf(sd, ids)))) as [Tensor, Tensor];
      const guidance = { prompt: c.guidance === 1 ? uncond : cond, negativePrompt: uncond };
      for (const batchSize of [1, 4]) {
        const found = await sd.invert({ latents: filled('input.latents', c.latents), ...guidance, guidanceScale: c.guidance, steps: c.steps, kind: 'edit-friendly', seed: c.noiseSeed, batchSize });
        t.same(found.timesteps.toReversed(), c.timesteps);
        c.sequence.forEach((expected, i) => near(t, found.latents.at(-1 - i), expected, `x of step ${i}`));
        c.z.forEach((expected, i) => near(t, found.noises.at(-1 - i), expected, `noise of step ${i}`));
        for (const { first, result } of c.replays) {
          const latents = await sd.replay(found, { ...guidance, guidanceScale: c.guidance, skip: c.steps - first });
          near(t, latents, result, `replayed from ${first}`);
          const back = worst(latents.data, filled('input.latents', c.latents).data, { atol: 1e-4 * c.guidance }); // guidance multiplies the rounding of the noise, which differs between processors
          t.ok(back <= 1, `and the picture is back (${back.toFixed(2)})`);
        }
      }
    });
  }
});
