import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { readSafetensors, trainAutoencoder, type Image, type Tensor, type TrainAutoencoderOptions } from 'seedbed';
import { runNative } from '#lib/job.js';
import { parseVaeConfig } from '#lib/diffusion/vae-config.js';
import { native, type NativeAutoencoderResult } from '#lib/native.js';
import { filled, integers, worstStored, writeFormulaModel, type Stored, type StoredModel } from './formula.js';
import { golden, picture, refused, runScript, thrown, worst } from './support.js';

const root = t.testdir();
let folders = 0;
const fresh = (): string => join(root, `out-${folders++}`);
const pictures = [0, 1, 2, 3, 4].map((salt) => picture(16, 16, 3, salt));
const small = { steps: 4, batchSize: 4, shardSize: 2, config: { blockOutChannels: [8, 16], normGroups: 4 }, threads: 1 };
const train = (options: Partial<TrainAutoencoderOptions> = {}, images: readonly Image[] = pictures) => trainAutoencoder(images, { ...small, out: fresh(), ...options });
const weightsOf = (folder: string): Record<string, Tensor> => readSafetensors(join(folder, 'diffusion_pytorch_model.safetensors')).tensors;
const bytesOf = (folder: string): string => readFileSync(join(folder, 'diffusion_pytorch_model.safetensors')).toString('base64');
/** All weights one after the other, by name. */
const flat = (weights: Record<string, Tensor>): Float32Array => Float32Array.from(Object.keys(weights).sort().flatMap((name) => [...(weights[name]?.data as Float32Array)]));

t.test('bad input is refused before anything is computed', async (t) => {
  const full = join(root, 'full');
  mkdirSync(full);
  writeFileSync(join(full, 'x'), '');
  const data = new Uint8Array(16 * 16 * 3);
  await refused(t, [
    ['an unknown option', () => train({ step: 3 } as never), 'ERR_INVALID_ARGUMENT', /did you mean 'steps'/],
    ['no steps', () => trainAutoencoder(pictures, { out: fresh() } as never), 'ERR_INVALID_ARGUMENT', /steps/],
    ['no pictures', () => train({}, []), 'ERR_INVALID_ARGUMENT', /at least one picture/],
    ['something else', () => trainAutoencoder('pictures/' as never, { ...small, out: fresh() }), 'ERR_INVALID_ARGUMENT', /list of images.*'pictures\/'/],
    ['too few bytes', () => trainAutoencoder({ data, count: 2, width: 16, height: 16 }, { ...small, out: fresh() }), 'ERR_INVALID_ARGUMENT', /1536 bytes.*768/],
    ['a count of 0', () => trainAutoencoder({ data, count: 0, width: 16, height: 16 }, { ...small, out: fresh() }), 'ERR_INVALID_ARGUMENT', /count.*0/],
    ['sizes that differ', () => train({}, [...pictures, picture(16, 14, 3)]), 'ERR_INVALID_ARGUMENT', /picture 5 has 16 x 14/],
    ['a size that is no multiple', () => train({}, [picture(16, 15, 3)]), 'ERR_INVALID_ARGUMENT', /multiples of 2.*16 x 15/],
    ['validation of such a size', () => train({ validation: [picture(15, 16, 3)] }), 'ERR_INVALID_ARGUMENT', /validation.*15 x 16/],
    ['a crop larger than the pictures', () => train({ crop: 18 }), 'ERR_INVALID_ARGUMENT', /0 to 16 for crop, received 18/],
    ['a crop that is no multiple', () => train({ crop: 7 }), 'ERR_INVALID_ARGUMENT', /multiple of 2 for crop.*7/],
    ['groups that do not divide', () => train({ config: { blockOutChannels: [8, 12], normGroups: 8 } }), 'ERR_INVALID_ARGUMENT', /normGroups 8.*12/],
    ['start and config', () => train({ start: root }), 'ERR_INVALID_ARGUMENT', /either start or config/],
    ['a start that is not there', () => train({ start: join(root, 'nowhere'), config: undefined }), 'ERR_FILE_NOT_FOUND', /nowhere/],
    ['a start of another kind', () => train({ start: full, config: undefined }), 'ERR_FILE_NOT_FOUND', /config\.json/],
    ['resuming from nothing', () => train({ resume: true }), 'ERR_INVALID_ARGUMENT', /checkpoint/],
    ['a folder that is in use', () => train({ out: full }), 'ERR_FILE_WRITE', /new or empty/],
    ['a file in its place', () => train({ out: join(full, 'x') }), 'ERR_FILE_WRITE', /is a file/],
  ]);
});

interface Golden {
  model: StoredModel;
  steps: number;
  batch: number;
  lr: number;
  losses: number[];
  weights: Stored;
  psnr: number;
  mean: number[];
  std: number[];
}

const stored = (golden('diffusion/pretrain') as { autoencoder: Golden }).autoencoder;
const storedPictures: Tensor<'uint8'> = { data: Uint8Array.from(integers('input.pretrain.pictures', [6, 16, 24, 3], 256)), shape: [6, 16, 24, 3], dtype: 'uint8' };

/** The updates of scripts/golden/diffusers_cases/pretrain_cases.py. */
function goldenRun(options: Record<string, unknown> = {}): Promise<NativeAutoencoderResult> {
  const { model, steps, batch, lr } = stored;
  const folder = writeFormulaModel(fresh(), model);
  const places = { data: BigInt64Array.from(integers('input.pretrain.places', [steps, batch], 6), BigInt), shape: [steps, batch], dtype: 'int64' };
  const call = {
    config: parseVaeConfig(JSON.parse(model.config), 'config'), files: [join(folder, model.file)], pictures: storedPictures, validation: storedPictures,
    fixed: { places, noise: filled('input.pretrain.noise', [steps, batch, 4, 8, 12]) }, steps, batchSize: batch, shardSize: 3, lr, warmupSteps: 0, averageDecay: 0, normalise: false, threads: 1, ...options,
  };
  return runNative((listener) => native().trainAutoencoder(call, listener), new AbortController().signal);
}

t.test('three updates as in PyTorch: losses, weights, quality, statistics of the latents', async (t) => {
  const result = await goldenRun();
  t.ok(worst(result.training.losses, stored.losses, { rtol: 1e-5 }) <= 1, result.training.losses.join());
  const all = flat(result.weights);
  t.ok(worstStored({ data: all, shape: [all.length] }, stored.weights, { rtol: 1e-4, atol: 1e-5 }) <= 1);
  t.ok(Math.abs((result.training.evaluations[0]?.psnr ?? 0) - stored.psnr) < 1e-3);
  t.ok(worst(result.mean, stored.mean, { rtol: 1e-4 }) <= 1);
  t.ok(worst(result.deviation, stored.std, { rtol: 1e-4 }) <= 1);
});

t.test('folding the normalisation changes the latents to mean 0 and deviation 1, and nothing that is decoded', async (t) => {
  const folded = await goldenRun({ normalise: true });
  const folder = writeFormulaModel(fresh(), stored.model);
  const write = (weights: Record<string, Tensor>): string => {
    native().writeSafetensors(join(folder, stored.model.file), weights);
    return join(folder, stored.model.file);
  };
  const again = (file: string): Promise<NativeAutoencoderResult> => goldenRun({ files: [file], lr: 0 });
  const plain = await again(write((await goldenRun()).weights));
  const normal = await again(write(folded.weights));
  t.ok(worst(normal.mean, [0, 0, 0, 0], { atol: 1e-5 }) <= 1, normal.mean.join());
  t.ok(worst(normal.deviation, [1, 1, 1, 1], { rtol: 1e-4 }) <= 1, normal.deviation.join());
  t.ok(Math.abs((normal.training.evaluations[0]?.error ?? 0) - (plain.training.evaluations[0]?.error ?? 1)) < 1e-6);
  t.ok(Math.abs((normal.training.evaluations[0]?.psnr ?? 0) - (plain.training.evaluations[0]?.psnr ?? 1)) < 1e-3);
});

t.test('pictures become a folder that is measured, and that a second run goes on from', async (t) => {
  const events: string[] = [];
  const job = train({ steps: 30, lr: 5e-3, averageDecay: 0.9, validation: pictures, evaluateEvery: 15, crop: 8, wholeSteps: 10 });
  for await (const event of job) events.push(event.type);
  const trained = await job;
  t.equal(events.filter((type) => type === 'step').length, 30);
  t.equal(trained.evaluations.length, 2);
  t.ok((trained.evaluations[1]?.psnr ?? 0) > (trained.evaluations[0]?.psnr ?? 99), 'it learns');
  t.ok((trained.losses[29] ?? 9) < (trained.losses[0] ?? 0));
  const config = JSON.parse(readFileSync(join(trained.folder, 'config.json'), 'utf8')) as Record<string, unknown>;
  t.same(parseVaeConfig(config, 'config').blockOutChannels, [8, 16]);
  t.equal(config['scaling_factor'], 1);
  t.equal(config['sample_size'], 16);
  const onwards = await train({ start: trained.folder, config: undefined, lr: 0, steps: 1, validation: pictures });
  t.ok(Math.abs((onwards.evaluations[0]?.psnr ?? 0) - (trained.evaluations[1]?.psnr ?? 1)) < 1e-3, 'begins where the first ended');
  t.ok(worst(onwards.latents.mean, [0, 0, 0, 0], { atol: 1e-4 }) <= 1);
  const wrong = await thrown(() => train({ start: trained.folder, config: undefined }, [picture(15, 15, 3)]));
  t.equal(wrong.code, 'ERR_INVALID_ARGUMENT');
});

t.test('the same seed gives the same bytes, whatever the threads and the form of the pictures', async (t) => {
  const run = async (options: Partial<TrainAutoencoderOptions> = {}): Promise<string> => bytesOf((await train({ averageDecay: 0, ...options })).folder);
  const first = await run();
  t.equal(await run({ threads: 2 }), first);
  const data = Uint8Array.from(pictures.flatMap(({ data }) => [...data]));
  const block = await trainAutoencoder({ data, count: 5, width: 16, height: 16 }, { ...small, averageDecay: 0, out: fresh() });
  t.equal(bytesOf(block.folder), first);
  for (const options of [{ seed: 1 }, { crop: 8 }, { klWeight: 1 }, { edgeWeight: 0 }, { averageDecay: 0.5 }]) t.not(await run(options), first, Object.keys(options).join());
});

t.test('a run that is cancelled goes on as if unbroken; another run is refused', async (t) => {
  const options: Partial<TrainAutoencoderOptions> = { steps: 8, crop: 8, checkpointEvery: 3, validation: pictures, evaluateEvery: 2 };
  const whole = await train(options);
  const checkpoint = join(root, 'cancelled.safetensors');
  const out = fresh();
  const job = train({ ...options, checkpoint, out });
  for await (const event of job) if (event.type === 'step' && event.step === 5) break;
  t.notOk(existsSync(out), 'no half-finished model');
  const resumed = await train({ ...options, checkpoint, resume: true, out });
  t.equal(bytesOf(resumed.folder), bytesOf(whole.folder));
  t.same(resumed.losses, whole.losses);
  t.same(resumed.evaluations, whole.evaluations);
  for (const other of [{ lr: 1e-4 }, { seed: 3 }, { crop: 4 }, { averageDecay: 0.5 }]) {
    const error = await thrown(() => train({ ...options, ...other, checkpoint, resume: true }));
    t.match(error, { code: 'ERR_INVALID_ARGUMENT', message: /other options or data/ });
  }
});

t.test('so does one whose convolutions keep forms of their weights between updates', async (t) => {
  const wide = [0, 1, 2, 3].map((salt) => picture(32, 32, 3, salt));
  const options: Partial<TrainAutoencoderOptions> = { steps: 4, config: { blockOutChannels: [32, 32], normGroups: 8 }, lr: 1e-2, warmupSteps: 0, checkpointEvery: 2, averageDecay: 0, shardSize: 4 };
  const whole = await train(options, wide);
  const checkpoint = join(root, 'wide.safetensors');
  for await (const event of train({ ...options, checkpoint }, wide)) if (event.type === 'step' && event.step === 2) break;
  const resumed = await train({ ...options, checkpoint, resume: true }, wide);
  t.same(resumed.losses, whole.losses);
  t.equal(bytesOf(resumed.folder), bytesOf(whole.folder));
});

t.test('a run that is killed goes on as if unbroken', async (t) => {
  const checkpoint = join(root, 'killed.safetensors');
  const script = `
    import { trainAutoencoder } from 'seedbed';
    const [checkpoint, out] = process.argv.slice(1);
    const images = ${JSON.stringify(pictures.map(({ data }) => [...data]))}.map((data) => ({ data: Uint8Array.from(data), width: 16, height: 16, channels: 3 }));
    const job = trainAutoencoder(images, { ...${JSON.stringify(small)}, steps: 9, checkpointEvery: 2, checkpoint, out });
    for await (const event of job) if (event.type === 'step' && event.step === 5) process.kill(process.pid, 'SIGKILL');`;
  const killed = await runScript(script, { args: [checkpoint, join(root, 'never')] });
  t.not(killed.code, 0, killed.stderr);
  t.ok(existsSync(checkpoint), killed.stderr);
  const resumed = await train({ steps: 9, checkpointEvery: 2, checkpoint, resume: true });
  t.equal(bytesOf(resumed.folder), bytesOf((await train({ steps: 9 })).folder));
});

t.test('a run that diverges says so and leaves its checkpoint', async (t) => {
  const checkpoint = join(root, 'diverged.safetensors');
  const error = await thrown(() => train({ steps: 60, lr: 1000, clipNorm: 0, warmupSteps: 0, checkpoint, checkpointEvery: 1 }));
  t.equal(error.code, 'ERR_NOT_FINITE', error.message);
  t.match(error.message, /lower the learning rate/);
  t.ok(existsSync(checkpoint));
  rmSync(checkpoint);
});

t.test('weights that do not fit are named', async (t) => {
  const trained = await train();
  const weights = weightsOf(trained.folder);
  delete weights['quant_conv.bias'];
  native().writeSafetensors(join(trained.folder, 'diffusion_pytorch_model.safetensors'), weights);
  t.match(await thrown(() => train({ start: trained.folder, config: undefined })), { code: 'ERR_WEIGHTS', message: /quant_conv\.bias/ });
});
