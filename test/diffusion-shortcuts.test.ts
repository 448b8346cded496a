import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { loadDiffusion, type GenerateOptions } from 'seedbed';
import { filled, worstStored, writeFormulaPipeline, type Stored } from './formula.js';
import { golden, refused, worst } from './support.js';

const CLOSE = { rtol: 1e-4, atol: 1e-4 };
const CLOSE_LOOP = { rtol: 5e-4, atol: 5e-4 }; // as for whole pipelines

interface Cached {
  interval: number;
  branch: number;
  scheduler: Record<string, unknown>;
  prompt: string;
  negativePrompt: string;
  steps: number;
  guidanceScale: number;
  size: number;
  seeds: number[];
  latents: Stored;
}

const { tokenMerging, featureCache } = golden('diffusion/shortcuts') as {
  tokenMerging: { ratio: number; latents: number[]; context: number[]; timestep: number; output: Stored }[];
  featureCache: Cached[];
};

const folder = writeFormulaPipeline(t.testdir(), 'sd1');
const load = () => loadDiffusion(folder, { dtype: 'float32', threads: 1 });
const small: GenerateOptions = { prompt: 'a red cat', steps: 2, width: 32, height: 32, decode: false };

t.test('what cannot be is refused', async (t) => {
  using sd = await load();
  await refused(t, [
    ['a share that leaves no token to merge into', () => sd.generate({ ...small, tokenMerging: { ratio: 0.8 } }), 'ERR_INVALID_ARGUMENT', /tokenMerging\.ratio/],
    ['merged tokens under an attention control', () => sd.generate({ ...small, tokenMerging: {}, attention: { contrast: { strength: 2 } } }), 'ERR_INVALID_ARGUMENT', /attention.*tokenMerging/],
    ['the same in one call', () => sd.predictNoise({ latents: filled('x', [1, 4, 8, 8]), context: filled('c', [1, 77, 32]), timestep: 1, tokenMerging: {}, attention: { contrast: { strength: 2 } } }), 'ERR_INVALID_ARGUMENT', /attention.*tokenMerging/],
    ['no call at all', () => sd.generate({ ...small, featureCache: { interval: 0 } }), 'ERR_INVALID_ARGUMENT', /featureCache\.interval/],
    ['a branch as deep as the network', () => sd.generate({ ...small, featureCache: { branch: 40 } }), 'ERR_INVALID_ARGUMENT', /featureCache\.branch/],
  ]);
});

t.test('token merging equals its authors’', async (t) => {
  using sd = await load();
  for (const { ratio, latents, context, timestep, output } of tokenMerging) {
    const call = { latents: filled('input.latents', latents), context: filled('input.context', context), timestep };
    const merged = await sd.predictNoise({ ...call, tokenMerging: { ratio, random: false } });
    t.ok(worstStored(merged, output, CLOSE) <= 1, `${ratio} of ${latents.join(' x ')} (${worstStored(merged, output, CLOSE).toFixed(3)})`);
    t.ok(worst((await sd.predictNoise(call)).data, merged.data, CLOSE) > 10, 'and is another result than without');
  }
});

t.test('merging nothing changes nothing; a picture alone is the picture of a batch', async (t) => {
  using sd = await load();
  const latents = async (options: Partial<GenerateOptions>): Promise<Float32Array> => (await sd.generate({ ...small, ...options })).latents.data;
  t.ok(worst(await latents({ tokenMerging: { ratio: 0 } }), await latents({}), CLOSE) <= 1);
  const both = await latents({ tokenMerging: {}, featureCache: { interval: 2 }, count: 2, seed: 3 });
  const second = await latents({ tokenMerging: {}, featureCache: { interval: 2 }, seed: 4 });
  t.ok(worst(both.subarray(both.length / 2), second, CLOSE) <= 1);
});

t.test('feature caching equals its authors’', async (t) => {
  for (const run of featureCache) {
    writeFileSync(join(folder, 'scheduler', 'scheduler_config.json'), JSON.stringify(run.scheduler));
    using sd = await load();
    const { prompt, negativePrompt, steps, guidanceScale, interval, branch } = run;
    const options = { prompt, negativePrompt, steps, guidanceScale, width: run.size, height: run.size, seed: run.seeds[0], count: run.seeds.length, decode: false };
    const { latents, settings } = await sd.generate({ ...options, featureCache: { interval, branch } });
    const ratio = worstStored(latents, run.latents, CLOSE_LOOP);
    t.ok(ratio <= 1, `every ${interval} calls, branch ${branch} (${ratio.toFixed(3)})`);
    t.same(settings[0]?.['featureCache'], { interval, branch });
    const plain = (await sd.generate(options)).latents.data;
    t.equal(worst(plain, latents.data, CLOSE_LOOP) > 1, interval > 1, 'and differs from the exact result, except when every call is whole');
  }
});
