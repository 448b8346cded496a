import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { exportDiffusion, loadDiffusion, trainAutoencoder, trainClip, trainDiffusion, type Captions, type Image, type Tensor, type TrainDiffusionOptions } from 'seedbed';
import { parseClipTextConfig, parseUnetConfig, parseVaeConfig } from '#lib/diffusion/config.js';
import { runNative } from '#lib/job.js';
import { native, type DiffusionTrainEvent, type NativeDiffusionResult } from '#lib/native.js';
import { filled, formulaNets, integers, worstStored, writeFormulaModel, writeFormulaPipeline, type Stored, type StoredModel } from './formula.js';
import { golden, refused, runScript, thrown, worst } from './support.js';

const root = t.testdir();
let folders = 0;
const fresh = (): string => join(root, `out-${folders++}`);
const COLOURS = { red: [220, 30, 30], green: [30, 200, 40], blue: [40, 40, 220], white: [230, 230, 230] };
const captions = Object.keys(COLOURS).map((name) => [`a ${name} square`, `${name} paint`]);
const pictures = Object.values(COLOURS).map((colour) => painted(colour));

function painted(colour: readonly number[]): Image {
  return { data: Uint8Array.from({ length: 16 * 16 * 3 }, (_, i) => colour[i % 3] ?? 0), width: 16, height: 16, channels: 3 };
}

const vae = join(root, 'vae');
const clip = join(root, 'clip');
const tokenizer = join(writeFormulaPipeline(join(root, 'pipeline'), 'sd1'), 'tokenizer');
const tower = { width: 16, layers: 1, heads: 2 };
await trainAutoencoder(pictures, { out: vae, steps: 300, batchSize: 4, lr: 1e-2, config: { blockOutChannels: [8, 16], normGroups: 4 }, threads: 2, averageDecay: 0.9 });
await trainClip(pictures, captions, { out: clip, tokenizer, steps: 20, batchSize: 4, text: tower, vision: { ...tower, patchSize: 8 }, projectionDim: 8, threads: 1 });

const small = { vae, clip, steps: 4, batchSize: 4, shardSize: 2, config: { blockOutChannels: [16, 32], headSize: 8, normGroups: 8 }, threads: 1 };
const train = (options: Partial<TrainDiffusionOptions> = {}, images: readonly Image[] = pictures, texts: Captions = captions) => trainDiffusion(images, texts, { ...small, out: fresh(), ...options });
const bytesOf = (folder: string): string => readFileSync(join(folder, 'unet', 'diffusion_pytorch_model.safetensors')).toString('base64');

t.test('bad input is refused before anything is computed', async (t) => {
  const wide = pictures.map(({ data }) => ({ data, width: 48, height: 16 / 3, channels: 3 }));
  await refused(t, [
    ['an unknown option', () => train({ batchsize: 3 } as never), 'ERR_INVALID_ARGUMENT', /did you mean 'batchSize'/],
    ['no autoencoder', () => train({ vae: join(root, 'nowhere') }), 'ERR_FILE_NOT_FOUND', /nowhere/],
    ['a folder of another network', () => train({ vae: join(clip, 'text_encoder') }), 'ERR_FILE_NOT_FOUND', /diffusion_pytorch_model\.safetensors.*no weights/],
    ['no text encoder', () => train({ clip: vae }), 'ERR_FILE_NOT_FOUND', /text_encoder/],
    ['fewer captions than pictures', () => train({}, pictures, captions.slice(1)), 'ERR_INVALID_ARGUMENT', /4 texts.*list of 3/],
    ['too few repeats', () => train({ repeats: [1] }), 'ERR_INVALID_ARGUMENT', /4 integers for repeats/],
    ['repeats below 0', () => train({ repeats: [1, 1, 1, -1] }), 'ERR_INVALID_ARGUMENT', /repeats of 0 or more/],
    ['pictures of half a row', () => train({}, wide), 'ERR_INVALID_ARGUMENT', /pictures/],
    ['heads that do not divide', () => train({ config: { ...small.config, headSize: 12 } }), 'ERR_INVALID_ARGUMENT', /headSize 12.*received 16/],
    ['attention for too few levels', () => train({ config: { ...small.config, attention: [true] } }), 'ERR_INVALID_ARGUMENT', /config\.attention for each of 2/],
    ['weights the wrong way round', () => train({ snrWeight: [5, 1] }), 'ERR_INVALID_ARGUMENT', /\[lowest, highest\].*\[5, 1\]/],
    ['noise where there is nothing else', () => train({ prediction: 'epsilon', zeroSnr: true }), 'ERR_INVALID_ARGUMENT', /zeroSnr/],
    ['a rate for the text alone', () => train({ lr: 0, textLr: 1e-4 }), 'ERR_INVALID_ARGUMENT', /lr above 0 with textLr/],
    ['start and config', () => train({ start: root }), 'ERR_INVALID_ARGUMENT', /either start or config/],
    ['resuming from nothing', () => train({ resume: true }), 'ERR_INVALID_ARGUMENT', /checkpoint/],
    ['a folder that is in use', () => train({ out: vae }), 'ERR_FILE_WRITE', /new or empty/],
  ]);
});

interface Golden {
  size: number[];
  schedule: Record<string, number | string>;
  ids: number[][][];
  lr: number;
  losses: number[];
  weights: Stored;
  textShare: number;
  along: { losses: number[]; weights: Stored; textWeights: Stored };
}

t.test("three updates as in PyTorch with diffusers' UNet, the text encoder as it is and learning along: losses and weights", async (t) => {
  const stored = (golden('diffusion/pretrain') as { unet: Golden }).unet;
  const nets = formulaNets('sd2');
  const part = <Config>(model: StoredModel, parse: (json: unknown, path: string) => Config): { config: Config; files: string[] } => ({ config: parse(JSON.parse(model.config), 'config'), files: [join(writeFormulaModel(fresh(), model), model.file)] });
  const long = (values: readonly number[], shape: readonly number[] = [values.length]): Tensor<'int64'> => ({ data: BigInt64Array.from(values, BigInt), shape, dtype: 'int64' });
  const [steps = 0, batch = 0] = stored.size;
  const ids = stored.ids.flat(2);
  const length = ids.length / steps / batch;
  const call = {
    ...part(nets.unet, parseUnetConfig), vae: part(nets.vae, parseVaeConfig), textEncoder: part(nets.text, parseClipTextConfig),
    data: { pictures: { data: new Uint8Array(2 * 32 * 32 * 3), shape: [2, 32, 32, 3], dtype: 'uint8' }, ids: long(ids.slice(0, length), [1, length]), captions: long([0, 0]), starts: long([0, 1, 2]) },
    emptyCaption: long(ids.slice(0, length)), schedule: { ...stored.schedule, prediction: 'v_prediction' }, snrWeight: { lowest: 1, highest: 5 },
    fixed: { latents: filled('input.pretrain.latents', stored.size), noise: filled('input.pretrain.velocity', stored.size), timesteps: long(integers('input.pretrain.timesteps', [steps, batch], 1000), [steps, batch]), ids: long(ids, [steps, batch, length]) },
    steps, batchSize: batch, shardSize: 3, lr: stored.lr, warmupSteps: 0, averageDecay: 0, threads: 1,
  };
  const compare = async (textLr: number, expected: Golden['along'] | Golden): Promise<void> => {
    const result = await runNative<DiffusionTrainEvent, NativeDiffusionResult>((listener) => native().trainDiffusion({ ...call, textLr }, listener), new AbortController().signal);
    t.ok(worst(result.losses, expected.losses, { rtol: 1e-5 }) <= 1, result.losses.join());
    const equal = (weights: Record<string, Tensor>, stored: Stored): void => {
      const names = Object.keys(weights).filter((name) => !name.endsWith('k_proj.bias')).sort();
      const all = Float32Array.from(names.flatMap((name) => [...(weights[name]?.data as Float32Array)]));
      t.ok(worstStored({ data: all, shape: [all.length] }, stored, { rtol: 1e-4, atol: 1e-5 }) <= 1);
    };
    equal(result.weights, expected.weights);
    if ('textWeights' in expected) equal(result.textWeights, expected.textWeights);
    else t.strictSame(result.textWeights, {});
  };
  await compare(0, stored);
  await compare(stored.textShare * stored.lr, stored.along);
  const { losses } = await runNative<DiffusionTrainEvent, NativeDiffusionResult>((listener) => native().trainDiffusion({ ...call, textLr: stored.textShare * stored.lr, precision: 'bfloat16' }, listener), new AbortController().signal);
  t.ok(worst(losses, stored.along.losses, { rtol: 1e-2 }) <= 1, `bfloat16 keeps 8 bits: ${losses.join()}`);
  t.not(losses[0], stored.along.losses[0]);
});

t.test('learns which caption belongs to which picture, and writes a model that generates it', async (t) => {
  const out = fresh();
  const run = train({ out, steps: 400, batchSize: 8, shardSize: 4, lr: 3e-3, checkEvery: 400, averageDecay: 0.98, threads: 2 });
  const checks = [];
  for await (const event of run) if (event.type === 'check') checks.push(event);
  const { check, losses, samples } = await run;
  t.equal(samples, 3200);
  const [early, late] = [mean(losses.slice(0, 20)), mean(losses.slice(-20))];
  t.ok(late < early / 2, `the loss falls from ${early.toFixed(3)} to ${late.toFixed(3)}`);
  t.strictSame(checks, [check]);
  t.ok(check.shuffled > 2 * check.right, `captions matter where there is only noise: error ${check.right.toFixed(3)}, with others' ${check.shuffled.toFixed(3)}`);
  const sd = await loadDiffusion(out, { dtype: 'float32', threads: 2 });
  const { images } = await sd.generate({ prompt: captions.map(([first = '']) => first), steps: 20, guidanceScale: 1, seed: 3, width: 16, height: 16 });
  for (const [i, name] of Object.keys(COLOURS).entries()) {
    const values = Array.from(images[i]?.data ?? []);
    const found = [0, 1, 2].map((channel) => mean(values.filter((_, j) => j % 3 === channel)));
    const nearest = Object.entries(COLOURS).sort(([, a], [, b]) => distance(a, found) - distance(b, found))[0]?.[0];
    t.equal(nearest, name, `'a ${name} square' has the colour ${found.map(Math.round).join(', ')}`);
  }
  sd.dispose();
});

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
const distance = (a: readonly number[], b: readonly number[]): number => Math.hypot(...a.map((value, i) => value - (b[i] ?? 0)));

t.test('the number of threads does not change a byte; the seed does', async (t) => {
  const trained = async (options: Partial<TrainDiffusionOptions>): Promise<string> => bytesOf((await train(options)).folder);
  const one = await trained({});
  t.ok(one === (await trained({ threads: 2 })), 'one and two threads');
  t.ok(one !== (await trained({ seed: 1 })), 'another seed');
});

t.test('a resumed run equals an unbroken one, also after SIGKILL', async (t) => {
  const whole = fresh();
  await train({ out: whole, steps: 6 });
  const checkpoint = join(root, 'state.safetensors');
  const options = { ...small, steps: 6, checkpoint, checkpointEvery: 1, resume: true };
  const killed = fresh();
  const source = `import { trainDiffusion } from 'seedbed'
    const pictures = ${JSON.stringify(pictures.map((p) => ({ ...p, data: [...p.data] })))}.map((p) => ({ ...p, data: Uint8Array.from(p.data) }))
    for await (const event of trainDiffusion(pictures, ${JSON.stringify(captions)}, ${JSON.stringify({ ...options, out: killed })})) if (event.type === 'checkpoint' && event.step === 3) process.kill(process.pid, 'SIGKILL')`;
  await runScript(source);
  t.notOk(existsSync(killed), 'nothing was written yet');
  t.ok(existsSync(`${checkpoint}.latents`), 'the latents are kept');
  const resumed = fresh();
  const { losses } = await trainDiffusion(pictures, captions, { ...options, out: resumed });
  t.equal(losses.length, 6);
  t.ok(bytesOf(resumed) === bytesOf(whole));
  const other = await thrown(() => trainDiffusion(pictures, captions, { ...options, out: fresh(), captionDropout: 0.5 }));
  t.match(other.message, /other options or data/);
  rmSync(`${checkpoint}.latents`);
  const again = fresh();
  await trainDiffusion(pictures, captions, { ...options, out: again });
  t.ok(bytesOf(again) === bytesOf(whole), 'also without the kept latents');
});

t.test('weights alone are enough to go on', async (t) => {
  const first = fresh();
  await train({ out: first, steps: 30, lr: 3e-3 });
  const { losses: before } = await train({ steps: 30, lr: 3e-3 });
  const { losses, config } = await train({ start: join(first, 'unet'), config: undefined, steps: 5, lr: 1e-4 });
  t.strictSame(config.unet.blockOutChannels, small.config.blockOutChannels);
  t.ok((losses[0] ?? 9) < (before[0] ?? 0), `begins at ${losses[0]} in place of ${before[0]}`);
});

t.test('a text encoder that learns along is in the checkpoint and in the model', async (t) => {
  const textOf = (folder: string): string => readFileSync(join(folder, 'text_encoder', 'model.safetensors')).toString('base64');
  const alone = await train();
  const checkpoint = join(root, 'along.safetensors');
  const options = { textLr: 1e-3, checkpoint, checkpointEvery: 4 };
  const along = await train(options);
  t.ok(textOf(along.folder) !== textOf(alone.folder), 'it has learned');
  t.ok(textOf(along.folder) === textOf((await train({ textLr: 1e-3, threads: 2 })).folder), 'the same for two threads');
  const exported = fresh();
  await exportDiffusion(checkpoint, { vae, clip, out: exported, side: 16, config: small.config });
  const states = async (folder: string): Promise<readonly number[]> => {
    using sd = await loadDiffusion(folder, { dtype: 'float32', threads: 1 });
    return Array.from((await sd.encodePrompt('a red square')).data);
  };
  t.strictSame(await states(exported), await states(along.folder), 'the checkpoint holds the same encoder');
  const other = await thrown(() => train({ ...options, textLr: 2e-3, resume: true }));
  t.match(other.message, /other options or data/);
});

t.test('a run that is stopped leaves its checkpoint', async (t) => {
  const checkpoint = join(root, 'stopped.safetensors');
  const out = fresh();
  for await (const event of train({ out, steps: 100_000, checkpoint, checkpointEvery: 50_000 })) if (event.type === 'step' && event.step === 2) break;
  t.ok(existsSync(checkpoint));
  t.notOk(existsSync(out), 'and no half-finished model');
});
