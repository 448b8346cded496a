import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import t from 'tap';
import { encodePng, knownSites, loadDiffusion, readLora, trainLora, trainLoras, type Diffusion, type Lora, type LoraClass, type LoraSampleEvent, type TrainLoraOptions } from 'seedbed';
import { trainingImage } from '#lib/lora/pictures.js';
import { writeFormulaPipeline } from './formula.js';
import { picture, refused, thrown, worst } from './support.js';

const root = t.testdir();
const folder = writeFormulaPipeline(join(root, 'model'), 'sd1');
const load = (): PromiseLike<Diffusion> => loadDiffusion(folder, { dtype: 'float32', device: 'cpu', threads: 1 });
const small = { prompt: 'a red cat', rank: 2, steps: 4, batchSize: 2, size: 32, lr: 1e-3, warmupSteps: 0, threads: 1 } as const;
const pictures = [0, 1, 2].map((salt) => picture(40, 32, 3, salt));
/** All factors, one after the other. */
function flat(lora: Lora): Float32Array {
  const parts = [...Object.values(lora.weights.unet), ...Object.values(lora.weights.textEncoder)].flatMap(({ down, up }) => [down.data as Float32Array, up.data as Float32Array]);
  return Float32Array.from(parts.flatMap((part) => [...part]));
}

const sameBytes = (a: Float32Array, b: Float32Array): boolean => Buffer.from(a.buffer).equals(Buffer.from(b.buffer));

async function folderOf(name: string, files: Record<string, Uint8Array | string>): Promise<string> {
  const path = join(root, name);
  mkdirSync(path, { recursive: true });
  for (const [file, content] of Object.entries(files)) writeFileSync(join(path, file), content);
  return Promise.resolve(path);
}

t.test('a picture that is brought to its size stays as it is', (t) => {
  for (const crop of ['random', 'center'] as const)
    for (const [width, height] of [[90, 50], [32, 32], [20, 41], [4000, 9]] as const) {
      const once = trainingImage(picture(width, height, 3, width), 'x', { size: 32, crop });
      t.equal(Math.min(once.width, once.height), 32);
      t.same(trainingImage(once, 'x', { size: 32, crop }), once, `${crop} of ${width} x ${height}`);
    }
  t.end();
});

t.test('bad input is refused', async (t) => {
  using sd = await load();
  const png = await encodePng(picture(40, 32, 3));
  const train = (options: Partial<TrainLoraOptions>) => () => trainLora(sd, { images: pictures, ...small, ...options });
  await refused(t, [
    ['rank 0', train({ rank: 0 }), 'ERR_INVALID_ARGUMENT', /rank/],
    ['alpha without rank', train({ rank: undefined, alpha: 8 }), 'ERR_INVALID_ARGUMENT', /Expected rank with alpha.*alpha 8 alone/],
    ['alpha that is NaN', train({ alpha: NaN }), 'ERR_INVALID_ARGUMENT', /alpha/],
    ['a negative alpha', train({ alpha: -1 }), 'ERR_INVALID_ARGUMENT', /alpha/],
    ['an unknown option', train({ ranks: 3 } as never), 'ERR_INVALID_ARGUMENT', /did you mean 'rank'/],
    ['targets that name no layer', train({ unetTargets: ['to_x'] }), 'ERR_INVALID_ARGUMENT', /to_x/],
    ['no targets', train({ unetTargets: [], textEncoderTargets: [] }), 'ERR_INVALID_ARGUMENT', /target/],
    ['a size that is no multiple', train({ size: 33 }), 'ERR_INVALID_ARGUMENT', /multiple of/],
    ['resuming from nothing', train({ resume: true }), 'ERR_INVALID_ARGUMENT', /checkpoint/],
    ['as many prompts as not pictures', train({ prompt: ['a', 'b'] }), 'ERR_INVALID_ARGUMENT', /3 texts/],
    ['no prompt and no caption', train({ prompt: undefined }), 'ERR_INVALID_ARGUMENT', /caption/],
    ['pictures smaller than 8 pixels', train({ images: [picture(40, 7, 3)] }), 'ERR_IMAGE', /at least 8 pixels.*40 x 7/],
    ['a folder that is not there', train({ images: join(root, 'nowhere') }), 'ERR_FILE_NOT_FOUND', /nowhere/],
    ['an empty folder', train({ images: await folderOf('empty', {}) }), 'ERR_IMAGE', /Expected pictures.*none/],
    ['a folder with other files', train({ images: await folderOf('mixed', { 'a.png': png, 'b.pdf': 'x' }) }), 'ERR_IMAGE', /b\.pdf/],
    ['metadata that is no JSON', train({ images: await folderOf('json', { 'a.png': png, 'metadata.jsonl': '{' }) }), 'ERR_FILE_FORMAT', /line 1/],
    ['something that is no model', () => trainLora({} as never, { images: pictures, ...small }), 'ERR_INVALID_ARGUMENT', /model/],
  ]);
});

t.test('a folder with captions becomes an adapter, which is written, read and changes what is generated', async (t) => {
  using sd = await load();
  const files = Object.fromEntries(await Promise.all(pictures.map(async (image, i) => [`${i + 9}.png`, await encodePng(image)] as const)));
  const images = await folderOf('captions', { ...files, '9.txt': 'a dog\n', 'metadata.jsonl': '{"file_name":"10.png","text":"a house"}\n' });
  const events: string[] = [];
  const job = trainLora(sd, { ...small, images });
  for await (const event of job) events.push(event.type);
  const lora = await job;
  t.same(events.filter((type) => type === 'step').length, 4);
  t.same(events.filter((type) => type === 'encode').length, 3);
  t.same(lora.training.settings['prompts'], ['a dog', 'a house', 'a red cat'], '9 before 10 before 11; captions win over the prompt');
  t.equal(lora.training.losses.length, 4);
  const call = { prompt: 'a red cat', steps: 2, width: 32, height: 32, decode: false };
  const before = (await sd.generate(call)).latents.data;
  sd.loras.add(lora.weights, { name: 'cat' });
  const { latents, settings } = await sd.generate(call);
  t.ok(worst(latents.data, before, { rtol: 1e-4, atol: 1e-4 }) > 1);
  t.same(settings[0]?.['loras'], { cat: 1 });
  for (const format of ['diffusers', 'kohya'] as const) {
    const [path = ''] = await lora.save(join(root, `${format}.safetensors`), { format });
    sd.loras.add(path, { name: format });
    t.same((await sd.generate({ ...call, loras: Object.fromEntries(sd.loras.list().map(({ name }) => [name, name === format ? 1 : 0])) })).latents.data, latents.data, format);
  }
  const other = await thrown(() => readLora(join(root, 'kohya.safetensors'), knownSites('sd2')));
  t.match(other.message, /./, `another model's layers: ${other.message}`);
  t.ok(other.code);
});

t.test('the same seed gives the same bytes; another one does not; so do prior pictures, noise offset and weights', async (t) => {
  using sd = await load();
  const run = async (options: Partial<TrainLoraOptions> = {}): Promise<Float32Array> => flat(await trainLora(sd, { images: pictures, ...small, ...options }));
  const first = await run();
  t.ok(sameBytes(await run(), first));
  const others: Partial<TrainLoraOptions>[] = [{ seed: 1 }, { noiseOffset: 0.1 }, { minSnrGamma: 1 }, { flip: true }, { prior: { images: [picture(32, 32, 3, 9)], prompt: 'a cat' } }, { accumulation: 2 }, { crop: 'center' }, { init: 'kaiming' }];
  for (const options of others)
    t.notOk(sameBytes(await run(options), first), Object.keys(options).join());
  t.ok(worst(await run({ recompute: true }), first, { rtol: 1e-3, atol: 1e-5 }) <= 1, 'recomputing changes rounding only');
});

t.test('a run that is cancelled, or stopped at a checkpoint, goes on as if unbroken', async (t) => {
  using sd = await load();
  const options: TrainLoraOptions = { images: pictures, ...small, steps: 6, checkpointEvery: 4 };
  const whole = flat(await trainLora(sd, options));
  const checkpoint = join(root, 'run.safetensors');
  const job = trainLora(sd, { ...options, checkpoint });
  for await (const event of job) if (event.type === 'step' && event.step === 3) break;
  const resumed = await trainLora(sd, { ...options, checkpoint, resume: true });
  t.ok(sameBytes(flat(resumed), whole));
  t.equal(resumed.training.losses.length, 6);
  const other = await thrown(() => trainLora(sd, { ...options, lr: 2e-3, checkpoint, resume: true }));
  t.equal(other.code, 'ERR_INVALID_ARGUMENT');
  t.match(other.message, /other options or data/);
});

t.test('pictures during training show the adapter as it is then, and change nothing', async (t) => {
  using sd = await load();
  const samples = { prompts: ['a red cat', 'a house'], every: 2, steps: 3, seed: 5, guidanceScale: 3, sampler: 'ddim' as const };
  const options = { images: pictures, ...small, steps: 5, lr: 0.02, lrSchedule: 'constant' } as const;
  const run = async (own: TrainLoraOptions): Promise<{ lora: Lora; seen: LoraSampleEvent[]; order: string[] }> => {
    const job = trainLora(sd, own);
    const seen: LoraSampleEvent[] = [];
    const order: string[] = [];
    for await (const event of job) {
      if (event.type === 'sample') seen.push(event);
      if (event.type === 'step' || event.type === 'sample') order.push(`${event.type} ${event.step}`);
    }
    return { lora: await job, seen, order };
  };
  const { lora, seen, order } = await run({ ...options, samples });
  t.same(order, ['step 1', 'step 2', 'sample 2', 'step 3', 'step 4', 'sample 4', 'step 5', 'sample 5'], 'every second update, and after the last');
  t.ok(sameBytes(flat(lora), flat(await trainLora(sd, options))), 'the factors are those of a run without pictures');
  t.match(seen[0], { steps: 5, images: [{ width: 32, height: 32 }, { width: 32, height: 32 }], settings: [{ prompt: 'a red cat', seed: 5, steps: 3, sampler: 'ddim' }, { prompt: 'a house', seed: 6 }] });
  const bytes = (event: LoraSampleEvent | undefined): string => (event?.images ?? []).map(({ data }) => Buffer.from(data).toString('hex')).join();
  const shorter = await run({ ...options, steps: 4, samples: { ...samples, every: 100 } });
  t.equal(bytes(shorter.seen[0]), bytes(seen[1]), 'at step 4 as after 4 steps');
  t.not(bytes(seen[0]), bytes(seen[1]));
  sd.loras.add(lora.weights, { name: 'learnt' });
  const { images } = await sd.generate({ prompt: [...samples.prompts], steps: 3, seed: 5, guidanceScale: 3, sampler: 'ddim', width: 32, height: 32, batchSize: 1 });
  for (const [i, { data }] of images.entries()) t.ok(worst(data, seen[2]?.images[i]?.data ?? [], { rtol: 0, atol: 1.5 }) <= 1, `picture ${i} as generate makes it`);
  t.equal(bytes((await run({ ...options, samples })).seen[1]), bytes(seen[1]), 'adapters on the model take no part');
});

t.test('pictures during training: wrong options, and stopping inside one', async (t) => {
  using sd = await load();
  const samples = { prompts: 'a cat', every: 2, steps: 1000 };
  const wrong = (own: object) => () => trainLora(sd, { images: pictures, ...small, samples: { ...samples, ...own } });
  await refused(t, [
    ['no prompts', wrong({ prompts: [] }), 'ERR_INVALID_ARGUMENT', /samples\.prompts/],
    ['every 0', wrong({ every: 0 }), 'ERR_INVALID_ARGUMENT', /samples\.every/],
    ['an unknown option', wrong({ evry: 2 }), 'ERR_INVALID_ARGUMENT', /did you mean 'every'/],
    ['a size that is no multiple', wrong({ width: 33 }), 'ERR_INVALID_ARGUMENT', /33/],
  ]);
  const checkpoint = join(root, 'sampled.safetensors');
  const options = { images: pictures, ...small, checkpoint };
  const whole = flat(await trainLora(sd, { images: pictures, ...small }));
  const job = trainLora(sd, { ...options, samples });
  const begin = performance.now();
  const events: string[] = [];
  for await (const event of job) {
    events.push(event.type);
    if (event.type === 'step' && event.step === 2) {
      await new Promise((resolve) => setTimeout(resolve, 200)); // now it makes the picture
      break;
    }
  }
  t.ok(performance.now() - begin < 10_000, 'at once');
  t.notOk(events.includes('sample'));
  t.ok(sameBytes(flat(await trainLora(sd, { ...options, resume: true })), whole), 'and goes on as if unbroken');
});

t.test('one adapter per class: as if trained alone, resumed where it was stopped', async (t) => {
  using sd = await load();
  const folder = join(root, 'classes');
  const classes = ['cat', 'a/b: dog', 'house'].map((name, i) => ({ name, images: pictures.slice(i, i + 2), prompt: `a ${name}` }));
  const { prompt: _, ...shared } = small;
  const options = { ...shared, folder };
  const files = ['cat', 'a%2Fb%3A%20dog', 'house'].map((name) => join(folder, `${name}.safetensors`));
  await refused(t, [
    ['no classes', () => trainLoras(sd, [], options), 'ERR_INVALID_ARGUMENT', /at least 1 for trainLoras/],
    ['a name twice', () => trainLoras(sd, [...classes, classes[0] as LoraClass], options), 'ERR_INVALID_ARGUMENT', /'cat' twice/],
    ['no folder', () => trainLoras(sd, classes, shared as never), 'ERR_INVALID_ARGUMENT', /folder/],
    ['a checkpoint', () => trainLoras(sd, classes, { ...options, checkpoint: 'x' } as never), 'ERR_INVALID_ARGUMENT', /no checkpoint/],
    ['an unknown option', () => trainLoras(sd, classes, { ...options, rnk: 2 } as never), 'ERR_INVALID_ARGUMENT', /did you mean 'rank'/],
    ['a misspelt class', () => trainLoras(sd, [{ name: 'x', imges: [] } as never], options), 'ERR_INVALID_ARGUMENT', /a folder or a list of images for 0\.images/],
  ]);
  const told: string[] = [];
  const job = trainLoras(sd, classes, options);
  for await (const event of job) {
    told.push(event.type === 'class' ? `${event.name} ${event.done + 1}/${event.total}${event.skipped ? ' there' : ''}` : event.type === 'step' ? `${event.class} ${event.step}` : '');
    if (event.type === 'step' && event.class === 'a/b: dog' && event.step === 2) break;
  }
  t.same(told.filter((text) => text !== ''), ['cat 1/3', 'cat 1', 'cat 2', 'cat 3', 'cat 4', 'a/b: dog 2/3', 'a/b: dog 1', 'a/b: dog 2']);
  t.same(files.map((file) => existsSync(file)), [true, false, false]);
  const resumed = trainLoras(sd, classes, { ...options, resume: true });
  const again: string[] = [];
  for await (const event of resumed) if (event.type === 'class') again.push(`${event.name}${event.skipped ? ' there' : ''}`);
  const trained = await resumed;
  t.same(again, ['cat there', 'a/b: dog', 'house']);
  t.same(trained.map(({ name, path, lora }) => [name, path, lora === undefined]), classes.map(({ name }, i) => [name, files[i], i === 0]));
  const alone = await trainLora(sd, { ...shared, images: (classes[1] as LoraClass).images, prompt: 'a a/b: dog' });
  t.ok(sameBytes(flat(trained[1]?.lora as Lora), flat(alone)), 'as trained alone');
  t.same((await readdir(folder)).sort(), files.map((file) => basename(file)).sort(), 'no checkpoint is left');
  const error = await thrown(() => trainLoras(sd, classes, { ...options, rank: 3, resume: true }));
  t.match([error.code, error.message], ['ERR_INVALID_ARGUMENT', /cat\.safetensors' to be made with rank 3, it was with 2/]);
});

t.test('a run that diverges says so and leaves its checkpoint', async (t) => {
  using sd = await load();
  const error = await thrown(() => trainLora(sd, { images: pictures, ...small, steps: 50, lr: 1000, clipNorm: 0, checkpoint: join(root, 'diverged.safetensors'), checkpointEvery: 1 }));
  t.equal(error.code, 'ERR_NOT_FINITE');
  t.match(error.message, /lower the learning rate/);
});

t.test('generating while training, and disposing the model meanwhile, are safe', async (t) => {
  const sd = await load();
  const job = trainLora(sd, { images: pictures, ...small });
  const { latents } = await sd.generate({ prompt: 'a red cat', steps: 2, width: 32, height: 32, decode: false });
  sd.dispose();
  t.equal(latents.shape[0], 1);
  t.equal((await job).training.steps, 4);
});
