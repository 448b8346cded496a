import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { loadDiffusion, readSafetensors, trainClip, type Captions, type Image, type Tensor, type TrainClipOptions } from 'seedbed';
import { parseClipTextConfig, parseClipVisionConfig } from '#lib/diffusion/clip-config.js';
import { runNative } from '#lib/job.js';
import { native, type ClipTrainEvent, type NativeClipResult } from '#lib/native.js';
import { formulaNets, integers, worstStored, writeFormulaModel, writeFormulaPipeline, type Stored, type StoredModel } from './formula.js';
import { golden, refused, runScript, thrown, worst } from './support.js';

const root = t.testdir();
let folders = 0;
const fresh = (): string => join(root, `out-${folders++}`);
const pipeline = writeFormulaPipeline(join(root, 'pipeline'), 'sd1');
const tokenizer = join(pipeline, 'tokenizer');

/** One colour each, with a bright corner, so that a picture says two words. */
const COLOURS = { red: [220, 30, 30], green: [30, 200, 40], blue: [40, 40, 220], white: [230, 230, 230] };
const SIDES = ['left', 'right'] as const;
const pairs = Object.entries(COLOURS).flatMap(([name, colour]) => SIDES.map((side) => ({ image: painted(colour, side), captions: [`a ${name} dot on the ${side}`, `${name}, ${side}`] })));
const pictures = pairs.map(({ image }) => image);
const captions = pairs.map((pair) => pair.captions);

function painted(colour: readonly number[], side: 'left' | 'right'): Image {
  const data = new Uint8Array(16 * 16 * 3);
  for (let y = 0; y < 16; y++) for (let x = 0; x < 16; x++) for (let c = 0; c < 3; c++) data[(y * 16 + x) * 3 + c] = (side === 'left' ? x < 8 : x >= 8) ? (colour[c] ?? 0) : 0;
  return { data, width: 16, height: 16, channels: 3 };
}

const tower = { width: 16, layers: 1, heads: 2 };
const small = { tokenizer, steps: 4, batchSize: 6, shardSize: 4, text: tower, vision: { ...tower, patchSize: 8 }, projectionDim: 8, threads: 1 };
const train = (options: Partial<TrainClipOptions> = {}, images: readonly Image[] = pictures, texts: Captions = captions) => trainClip(images, texts, { ...small, out: fresh(), ...options });
const bytesWithoutMetadata = (folder: string): string =>
  JSON.stringify(['text_encoder', 'image_encoder'].map((part) => Object.entries(readSafetensors(join(folder, part, 'model.safetensors')).tensors).map(([name, { data }]) => [name, Array.from(data as Float32Array)])));
const bytesOf = (folder: string): string => ['text_encoder', 'image_encoder'].map((part) => readFileSync(join(folder, part, 'model.safetensors')).toString('base64')).join();

t.test('bad input is refused before anything is computed', async (t) => {
  const full = join(root, 'full');
  mkdirSync(full);
  writeFileSync(join(full, 'x'), '');
  const wide = pictures.map(({ data }) => ({ data, width: 32, height: 8, channels: 3 }));
  await refused(t, [
    ['an unknown option', () => train({ batchsize: 3 } as never), 'ERR_INVALID_ARGUMENT', /did you mean 'batchSize'/],
    ['no tokenizer', () => train({ tokenizer: undefined }), 'ERR_INVALID_ARGUMENT', /tokenizer/],
    ['a tokenizer that is not there', () => train({ tokenizer: full }), 'ERR_FILE_NOT_FOUND', /vocab\.json/],
    ['a batch of 1', () => train({ batchSize: 1 }), 'ERR_INVALID_ARGUMENT', /batchSize/],
    ['no pictures', () => train({}, [], []), 'ERR_INVALID_ARGUMENT', /at least one picture/],
    ['fewer captions than pictures', () => train({}, pictures, captions.slice(1)), 'ERR_INVALID_ARGUMENT', /8 texts.*list of 7/],
    ['a picture without one', () => train({}, pictures, [...captions.slice(1), []]), 'ERR_INVALID_ARGUMENT', /captions\.7/],
    ['a caption that is no text', () => train({}, pictures, [...captions.slice(1), [3 as never]]), 'ERR_INVALID_ARGUMENT', /captions\.7.*3/],
    ['too few groups', () => train({ groups: [1] }), 'ERR_INVALID_ARGUMENT', /8 integers for groups/],
    ['a group that is no integer', () => train({ groups: [1, 2, 3, 4, 5, 6, 7, 0.5] }), 'ERR_INVALID_ARGUMENT', /groups\.7.*0\.5/],
    ['pictures that are not square', () => train({}, wide), 'ERR_INVALID_ARGUMENT', /square.*32 x 8/],
    ['patches that do not divide', () => train({ vision: { ...tower, patchSize: 5 } }), 'ERR_INVALID_ARGUMENT', /side 16.*patchSize, received 5/],
    ['heads that do not divide', () => train({ text: { ...tower, heads: 3 } }), 'ERR_INVALID_ARGUMENT', /text\.heads 3/],
    ['validation of another size', () => train({ validation: { pictures: wide, captions } }), 'ERR_INVALID_ARGUMENT', /16 x 16.*32 x 8/],
    ['a part larger than the picture', () => train({ augment: { scale: [0.5, 2] } }), 'ERR_INVALID_ARGUMENT', /augment\.scale/],
    ['start and sizes', () => train({ start: root }), 'ERR_INVALID_ARGUMENT', /either start or tokenizer/],
    ['a start that is not there', () => trainClip(pictures, captions, { out: fresh(), steps: 1, start: join(root, 'nowhere') }), 'ERR_FILE_NOT_FOUND', /nowhere/],
    ['resuming from nothing', () => train({ resume: true }), 'ERR_INVALID_ARGUMENT', /checkpoint/],
    ['a folder that is in use', () => train({ out: full }), 'ERR_FILE_WRITE', /new or empty/],
  ]);
});

interface Golden {
  model: StoredModel;
  ids: number[][];
  groups: number[];
  places: number[][];
  lr: number;
  losses: number[];
  logitScale: number;
  weights: Stored;
}

t.test('three updates as in PyTorch with transformers: losses and weights', async (t) => {
  const stored = (golden('diffusion/pretrain') as { clip: Golden }).clip;
  const { text_config: text, vision_config: vision } = JSON.parse(stored.model.config) as Record<string, object>;
  const folder = writeFormulaModel(fresh(), stored.model);
  const long = (values: readonly number[], shape: readonly number[] = [values.length]): Tensor<'int64'> => ({ data: BigInt64Array.from(values, BigInt), shape, dtype: 'int64' });
  const data = {
    pictures: { data: Uint8Array.from(integers('input.pretrain.faces', [6, 32, 32, 3], 256)), shape: [6, 32, 32, 3], dtype: 'uint8' },
    ids: long(stored.ids.flat(), [6, 12]), captions: long([0, 1, 2, 3, 4, 5]), starts: long([0, 1, 2, 3, 4, 5, 6]), groups: long(stored.groups),
  };
  const call = {
    text: parseClipTextConfig({ ...text, architectures: ['CLIPTextModelWithProjection'] }, 'text'), vision: parseClipVisionConfig({ ...vision, architectures: ['CLIPVisionModelWithProjection'] }, 'vision'),
    data, files: [join(folder, stored.model.file)], fixed: { places: long(stored.places.flat(), [3, 4]) }, steps: 3, batchSize: 4, shardSize: 3, lr: stored.lr, warmupSteps: 0, averageDecay: 0, threads: 1,
    optimizer: { weightDecay: 0.01, beta1: 0.9, beta2: 0.99 },
  };
  const result = await runNative<ClipTrainEvent, NativeClipResult>((listener) => native().trainClip(call, listener), new AbortController().signal);
  t.ok(worst(result.training.losses, stored.losses, { rtol: 1e-5 }) <= 1, result.training.losses.join());
  t.ok(worst([result.logitScale], [stored.logitScale]) <= 1);
  const low = await runNative<ClipTrainEvent, NativeClipResult>((listener) => native().trainClip({ ...call, precision: 'bfloat16' }, listener), new AbortController().signal);
  t.ok(worst(low.training.losses, stored.losses, { rtol: 1e-2 }) <= 1, `bfloat16 keeps 8 bits: ${low.training.losses.join()}`);
  const compared = Object.keys(result.weights).filter((name) => !name.endsWith('k_proj.bias')); // see the script
  const all = Float32Array.from(compared.sort().flatMap((name) => [...(result.weights[name]?.data as Float32Array)]));
  t.ok(worstStored({ data: all, shape: [all.length] }, stored.weights, { rtol: 1e-4, atol: 1e-5 }) <= 1);
});

t.test('views: the whole picture is the picture, mirrored ones are mirrored, and no thread changes them', async (t) => {
  const lossesWith = async (options: Partial<TrainClipOptions>, images = pictures): Promise<number[]> => (await train(options, images)).losses;
  const whole = { scale: [1, 1], ratio: [1, 1] } as const;
  const mirrored = pairs.map((_, i) => painted(Object.values(COLOURS)[Math.floor(i / 2)] as number[], i % 2 === 0 ? 'right' : 'left'));
  t.ok(worst(await lossesWith({ augment: whole }), await lossesWith({}), { rtol: 1e-4 }) <= 1, 'all of it, not mirrored unless asked for');
  t.ok(worst(await lossesWith({ augment: { ...whole, flip: 1 } }), await lossesWith({}, mirrored), { rtol: 1e-4 }) <= 1, 'mirrored');
  const strong = { augment: { scale: [0.3, 1], randAugment: true } } as const;
  const one = await lossesWith(strong);
  t.notSame(one, await lossesWith({}));
  t.same(await lossesWith({ ...strong, threads: 2 }), one, 'any threads');
});

t.test('the text tower begins with different states for different words', async (t) => {
  const texts = Array.from({ length: 32 }, (_, i) => `a ${'abcdefghijklmnopqrstuvwxyz'[i % 26]}${'aeiou'[i % 5]}${'klmnt'[(i * 7) % 5]} here`);
  const images = texts.map((_, i) => pictures[i % pictures.length] as Image);
  const { spread } = await train({ steps: 1, lr: 0, text: { width: 64, layers: 4, heads: 4 } }, images, texts);
  t.ok((spread[0] ?? 1) < 1e-3, 'the begin token stands before all words');
  t.ok(spread.slice(2, 5).every((share) => share > 0.5 && share <= 1), `where the words differ: ${spread.map((share) => share.toFixed(2)).join()}`);
  t.ok(spread.slice(5).every((share) => share > 0.01), 'and something of it behind them');
});

t.test('pictures with captions become towers that find one another, and that a pipeline loads', async (t) => {
  const events: string[] = [];
  const job = train({ steps: 240, lr: 5e-3, averageDecay: 0.9, batchSize: 8, validation: { pictures, captions }, evaluateEvery: 120, text: { width: 32, layers: 1, heads: 2 } });
  for await (const event of job) events.push(event.type);
  const trained = await job;
  t.equal(events.filter((type) => type === 'evaluation').length, 2);
  t.same(trained.pictureToText, { top1: 1, top5: 1 });
  t.same(trained.textToPicture, { top1: 1, top5: 1 });
  const untrained = await train({ steps: 1, lr: 0, text: { width: 32, layers: 1, heads: 2 } });
  const [first = 1, last = 0] = [untrained, trained].map(({ spread }) => spread.at(-1));
  t.ok(last > 3 * first, `training carries the words to the end token: from ${first.toFixed(3)} to ${last.toFixed(3)}`);
  t.ok(trained.logitScale > 1 && trained.logitScale <= 100);
  const preprocessor = JSON.parse(readFileSync(join(trained.folder, 'feature_extractor', 'preprocessor_config.json'), 'utf8')) as { crop_size: unknown };
  t.same(preprocessor.crop_size, { height: 16, width: 16 });
  t.equal(Number(readSafetensors(join(trained.folder, 'text_encoder', 'model.safetensors')).metadata['logit_scale']), trained.logitScale);

  const folder = writeFormulaPipeline(fresh(), 'sd1', undefined, formulaNets('sd1'));
  for (const part of ['text_encoder', 'image_encoder']) {
    mkdirSync(join(folder, part), { recursive: true });
    for (const file of ['config.json', 'model.safetensors']) writeFileSync(join(folder, part, file), readFileSync(join(trained.folder, part, file)));
  }
  const index = JSON.parse(readFileSync(join(folder, 'model_index.json'), 'utf8')) as object;
  writeFileSync(join(folder, 'model_index.json'), JSON.stringify({ ...index, text_encoder: ['transformers', 'CLIPTextModelWithProjection'], image_encoder: ['transformers', 'CLIPVisionModelWithProjection'] }));
  using sd = await loadDiffusion(folder, { dtype: 'float32', device: 'cpu', threads: 1 });
  t.equal(sd.info.textEncoderParameters, Object.values(readSafetensors(join(trained.folder, 'text_encoder', 'model.safetensors')).tensors).reduce((sum, { data }) => sum + data.length, 0));
});

t.test('goes on from a CLIP that was trained before, with its tokenizer and its scale', async (t) => {
  const first = await train({ steps: 60, lr: 5e-3, averageDecay: 0 });
  const same = await trainClip(pictures, captions, { start: first.folder, out: fresh(), steps: 1, lr: 0, batchSize: 6, shardSize: 4, averageDecay: 0, threads: 1 });
  t.equal(bytesWithoutMetadata(same.folder), bytesWithoutMetadata(first.folder), 'at rate 0 nothing changes');
  t.ok(Math.abs(same.logitScale / first.logitScale - 1) < 1e-5, `${same.logitScale} of ${first.logitScale}`);
  t.strictSame(same.textConfig, first.textConfig);
  t.strictSame(same.visionConfig, first.visionConfig);
  t.ok((same.losses[0] ?? 9) < 0.8 * (first.losses[0] ?? 0), `begins at ${same.losses[0]} in place of ${first.losses[0]}`);
});

t.test('pictures of one group are no wrong answers to each other', async (t) => {
  const loss = async (options: Partial<TrainClipOptions>): Promise<number> => (await train({ steps: 1, lr: 0, batchSize: 8, ...options })).losses[0] ?? NaN;
  const [apart, halves, together] = [await loss({}), await loss({ groups: [0, 0, 1, 1, 2, 2, 3, 3] }), await loss({ groups: [5, 5, 5, 5, 5, 5, 5, 5] })];
  t.ok(apart > halves && halves > 0.1, `${apart} ${halves}`);
  t.equal(together, 0, 'nothing to choose from');
  const two = async (batchSize: number): Promise<number> => (await train({ steps: 1, lr: 0, batchSize }, [pictures[0] as Image, pictures[3] as Image], ['red', 'green'])).losses[0] ?? NaN;
  t.ok((await two(4)) < (await two(2)) + Math.log(2) - 0.05, 'a picture that comes twice is no wrong answer either: its copies would add ln 2');
});

t.test('the same seed gives the same bytes, whatever the threads; other options do not', async (t) => {
  const run = async (options: Partial<TrainClipOptions> = {}): Promise<string> => bytesOf((await train({ averageDecay: 0, ...options })).folder);
  const first = await run();
  t.equal(await run({ threads: 2 }), first);
  for (const options of [{ seed: 1 }, { groups: [0, 0, 1, 1, 2, 2, 3, 3] }, { averageDecay: 0.5 }]) t.not(await run(options), first, Object.keys(options).join());
});

t.test('texts that are too long are named in a warning', async (t) => {
  const messages: string[] = [];
  for await (const event of train({}, pictures, [...captions.slice(1), 'word '.repeat(100)])) if (event.type === 'warning') messages.push(event.message);
  t.equal(messages.length, 1);
  t.match(messages[0], /77 tokens.*word/);
});

t.test('a run that is cancelled or killed goes on as if unbroken; another run is refused', async (t) => {
  const options: Partial<TrainClipOptions> = { steps: 8, checkpointEvery: 3, validation: { pictures, captions }, evaluateEvery: 2 };
  const whole = await train(options);
  const checkpoint = join(root, 'cancelled.safetensors');
  const job = train({ ...options, checkpoint });
  for await (const event of job) if (event.type === 'step' && event.step === 5) break;
  const resumed = await train({ ...options, checkpoint, resume: true });
  t.equal(bytesOf(resumed.folder), bytesOf(whole.folder));
  t.same(resumed.losses, whole.losses);
  t.same(resumed.evaluations, whole.evaluations);
  const error = await thrown(() => train({ ...options, lr: 1e-4, checkpoint, resume: true }));
  t.match(error, { code: 'ERR_INVALID_ARGUMENT', message: /other options or data/ });

  const killed = join(root, 'killed.safetensors');
  const given = { pictures: pictures.map(({ data }) => [...data]), captions, options: { ...small, steps: 8, checkpointEvery: 3, checkpoint: killed, out: join(root, 'never') } };
  const script = `
    import { trainClip } from 'seedbed';
    const given = ${JSON.stringify(given)};
    const images = given.pictures.map((data) => ({ data: Uint8Array.from(data), width: 16, height: 16, channels: 3 }));
    for await (const event of trainClip(images, given.captions, given.options)) if (event.type === 'step' && event.step === 5) process.kill(process.pid, 'SIGKILL');`;
  const done = await runScript(script);
  t.not(done.code, 0, done.stderr);
  t.ok(existsSync(killed), done.stderr);
  const { validation: _, evaluateEvery: __, ...same } = options;
  t.equal(bytesOf((await train({ ...same, checkpoint: killed, resume: true })).folder), bytesOf((await train(same)).folder));
});

t.test('a run that diverges says so', async (t) => {
  const error = await thrown(() => train({ steps: 60, lr: 1000, clipNorm: 0, warmupSteps: 0 }));
  t.equal(error.code, 'ERR_NOT_FINITE', error.message);
});
