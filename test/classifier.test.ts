import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { Dataset, fractals, loadClassifier, onePFrac, openDataset, readSafetensors, trainClassifier, writeSafetensors, type Classifier, type Image, type TrainClassifierOptions, type TrainEvent } from 'seedbed';
import { MODEL_NAMES } from '#lib/model-options.js';
import { nativeTrainOptions } from '#lib/train-options.js';
import { native } from '#lib/native.js';
import { golden, picture, ramp, refused, thrown, worst, writeClassifierFolder } from './support.js';

interface Trained {
  losses: number[];
  parameters: Record<string, number[]>;
}
interface Golden {
  config: { imageSize: number; patchSize: number; width: number; depth: number; heads: number; classes: number };
  shapes: Record<string, number[]>;
  labels: number[];
  logits: number[][];
  loss: number;
  adamw: Trained;
  sgd: Trained;
  randn: number[];
}

const reference = golden('vit') as Golden;

/** The weights of scripts/golden/vit.py. */
async function goldenFolder(folder: string): Promise<string> {
  const weights = Object.entries(reference.shapes).map(([name, shape], salt) => {
    const tensor = ramp(salt, shape, shape.length > 1 ? 0.4 : 0.2);
    if (name.includes('norm') && name.endsWith('weight')) tensor.data.forEach((v, i) => (tensor.data[i] = v + 1));
    return [name, tensor] as const;
  });
  await writeFile(join(folder, 'config.json'), writeClassifierFolder(folder, reference.config, Object.fromEntries(weights)));
  return folder;
}

function dataset(count: number, classes = 2, size = 32, offset = 0): Dataset {
  const entries = Array.from({ length: count }, (_, i) => ({ key: `p${offset + i}`, label: i % classes, read: (): Promise<Image> => Promise.resolve(picture(size, size, 3, offset + i)) }));
  return new Dataset({ name: 'pictures', classes: Array.from({ length: classes }, (_, i) => `class ${i}`), entries });
}

const tiny = { imageSize: 32, patchSize: 8, width: 32, depth: 2, heads: 2 };
const short = (extra: Partial<TrainClassifierOptions> = {}): TrainClassifierOptions => ({ model: tiny, train: dataset(12), steps: 6, batchSize: 8, shardSize: 4, ...extra });

const sameWeights = (a: Classifier, b: Classifier): boolean => {
  const [left, right] = [a.weights(), b.weights()];
  return Object.entries(left).every(([name, tensor]) => Buffer.compare(Buffer.from(tensor.data.buffer), Buffer.from((right[name] as typeof tensor).data.buffer)) === 0);
};

t.test('wrong options', async (t) => {
  const train = dataset(4);
  const cases: [string, () => unknown, string, RegExp][] = [
    ['misspelt', () => trainClassifier({ ...short(), stpes: 3 } as never), 'ERR_INVALID_ARGUMENT', /Unknown option 'stpes' for trainClassifier; did you mean 'steps'\?/],
    ['misspelt inside', () => trainClassifier(short({ augment: { flipp: 1 } as never })), 'ERR_INVALID_ARGUMENT', /Unknown option 'augment\.flipp'.*'flip'/],
    ['no data', () => trainClassifier({} as never), 'ERR_INVALID_ARGUMENT', /Expected a dataset for train, received undefined/],
    ['zero steps', () => trainClassifier(short({ steps: 0 })), 'ERR_INVALID_ARGUMENT', /at least 1 for steps, received 0/],
    ['text for a number', () => trainClassifier(short({ lr: 'fast' as never })), 'ERR_INVALID_ARGUMENT', /for lr, received 'fast'/],
    ['unknown model', () => trainClassifier(short({ model: 'vit_huge' as never })), 'ERR_INVALID_ARGUMENT', /for model, received 'vit_huge'/],
    ['unknown optimizer', () => trainClassifier(short({ optimizer: { type: 'lion' } as never })), 'ERR_INVALID_ARGUMENT', /optimizer/],
    ['width not a multiple of heads', () => trainClassifier(short({ model: { ...tiny, heads: 3 } })), 'ERR_INVALID_ARGUMENT', /multiple of heads, received 32 and 3/],
    ['test data to train on', () => trainClassifier(short({ train: train.as('test') })), 'ERR_DATA_LEAK', /received the test part/],
    ['test data to choose on', () => trainClassifier(short({ validate: train.as('test') })), 'ERR_DATA_LEAK', /for validate/],
    ['the same picture on both sides', () => trainClassifier(short({ train, validate: dataset(2) })), 'ERR_DATA_LEAK', /no picture in both train and validate, found 'p0'/],
    ['one class', () => trainClassifier(short({ train: dataset(4, 1) })), 'ERR_DATASET', /at least 2 classes/],
    ['nothing to train on', () => trainClassifier(short({ train: train.filter(() => false) })), 'ERR_DATASET', /at least one picture for train/],
    ['other classes to validate on', () => trainClassifier(short({ validate: new Dataset({ name: 'other', classes: ['x', 'class 0'], entries: [{ key: 'q', label: 0, read: () => Promise.resolve(picture(8, 8, 3, 77)) }] }) })), 'ERR_DATASET', /found 'x'/],
    ['best without validation', () => trainClassifier(short({ keep: 'best' })), 'ERR_INVALID_ARGUMENT', /validation data for keep/],
    ['resume without a file', () => trainClassifier(short({ resume: true })), 'ERR_INVALID_ARGUMENT', /checkpoint file to resume from/],
    ['checkpoint in no folder', () => trainClassifier(short({ checkpoint: '/no/such/folder/x' })), 'ERR_FILE_WRITE', /Cannot create '\/no\/such\/folder\/x'/],
    ['init that is not there', () => trainClassifier({ ...short(), init: 'no-such-folder' }), 'ERR_FILE_NOT_FOUND', /no config\.json/],
    ['init nearly named', () => trainClassifier({ ...short(), init: 'fractal-vit-nanno' }), 'ERR_FILE_NOT_FOUND', /Did you mean the shipped model 'fractal-vit-nano'/],
  ];
  await refused(t, cases);
});

t.test('logits equal timm', async (t) => {
  const classifier = await loadClassifier(await goldenFolder(t.testdir()));
  const { imageSize } = reference.config;
  const images = reference.logits.map((_, salt) => picture(imageSize, imageSize, 3, salt));
  const logits = await classifier.logits(images);
  t.same(logits.shape, [images.length, reference.config.classes]);
  t.ok(worst(logits.data, reference.logits.flat(), { atol: 2e-6 }) <= 1);
  const [first] = await classifier.predict(images.slice(0, 1));
  const row = reference.logits[0] ?? [];
  t.equal(first?.label, row.indexOf(Math.max(...row)));
  t.ok(Math.abs([...(first?.probabilities ?? [])].reduce((a, b) => a + b, 0) - 1) < 1e-6);
});

t.test('optimiser steps equal PyTorch', async (t) => {
  const init = await goldenFolder(t.testdir());
  const { imageSize } = reference.config;
  const entries = reference.labels.map((label, salt) => ({ key: `p${salt}`, label, read: (): Promise<Image> => Promise.resolve(picture(imageSize, imageSize, 3, salt)) }));
  const train = new Dataset({ name: 'golden', classes: Array.from({ length: reference.config.classes }, (_, i) => String(i)), entries });
  const still = { augment: { scale: [1, 1], ratio: [1, 1], flip: 0 }, steps: 3, batchSize: 4, minLr: 0 } as const;
  // The learning rate is constant in the reference: a warm-up from and to the same rate keeps it so here.
  const constant = (lr: number): object => ({ lr, warmupLr: lr, warmupSteps: 3 });
  for (const [name, options, expected] of [
    ['AdamW', { ...constant(1e-3), labelSmoothing: 0.1, optimizer: { type: 'adamw', weightDecay: 0.05 } }, reference.adamw],
    ['SGD', { ...constant(1e-2), optimizer: { type: 'sgd', momentum: 0.9, weightDecay: 1e-2 } }, reference.sgd],
  ] as const) {
    for (const shardSize of [4, 1]) {
      const classifier = await continueFrom(init, { ...still, ...options, shardSize, train });
      t.ok(worst(classifier.losses, expected.losses) <= 1, `${name}: losses, shards of ${shardSize}`);
      for (const [parameter, values] of Object.entries(expected.parameters)) {
        // Adam divides by a square root of the gradient's square: rounding in tiny gradients shows in the update (lr 1e-3).
        const close = worst((classifier.weights[parameter] as { data: Float32Array }).data.subarray(0, values.length), values, { rtol: 1e-5, atol: name === 'AdamW' ? 2e-5 : 1e-6 });
        t.ok(close <= 1, `${name}: ${parameter} (${close.toFixed(3)})`);
      }
    }
  }
});

/** Trains on from a folder with its head: `init` would replace it, so the weights are put in place by name. */
async function continueFrom(folder: string, options: TrainClassifierOptions): Promise<{ losses: number[]; weights: ReturnType<Classifier['weights']> }> {
  const { train, ...rest } = options;
  const handle = native().createClassifier({ ...reference.config, weights: join(folder, 'model.safetensors') });
  const samples = await train.load();
  const set = native().createImageSet({ images: samples.map((s) => s.image), labels: train.labels, classes: train.classes.length });
  const losses = await new Promise<number[]>((resolve, reject) => {
    native().trainClassifier(handle, { ...nativeTrainOptions(rest), train: set }, (kind, value) => {
      if (kind === 'done') resolve((value as { losses: number[] }).losses);
      if (kind === 'error') reject(new Error((value as { message: string }).message));
    });
  });
  return { losses, weights: native().classifierWeights(handle) };
}

t.test('schedules, mixing and smoothing equal timm', async (t) => {
  interface Parts {
    schedules: { schedule: Record<string, number>; rates: [number, number][] }[];
    mixup: { lambda: number; pixels: number[]; targets: number[][] };
    cutmix: { lambda: number; box: [number, number, number, number]; pixels: number[]; targets: number[][] };
    smoothing: number[];
  }
  const parts = golden('train_parts') as Parts;
  for (const { schedule, rates } of parts.schedules)
    for (const [step, rate] of rates) t.ok(Math.abs(native().lrAt(schedule, step) - rate) <= 1e-12 + 1e-9 * rate, `rate at ${step} of ${schedule['steps']}`);

  const labels = { data: BigInt64Array.of(0n, 2n, 1n, 3n), shape: [4], dtype: 'int64' };
  const pixels = ramp(3, [4, 3, 8, 8]);
  const [top, bottom, left, right] = parts.cutmix.box;
  const mixed = native().mixBatch({ pixels, labels, mix: {}, lambda: parts.mixup.lambda, smoothing: 0.1, classes: 5 });
  t.ok(worst(mixed.pixels.data, parts.mixup.pixels) <= 1, 'mixup pixels');
  t.ok(worst(mixed.targets.data, parts.mixup.targets.flat()) <= 1, 'mixup targets');
  const cut = native().mixBatch({ pixels, labels, lambda: parts.cutmix.lambda, cutmix: true, top, bottom, left, right, smoothing: 0.1, classes: 5 });
  t.ok(worst(cut.pixels.data, parts.cutmix.pixels) <= 1, 'CutMix pixels');
  t.ok(worst(cut.targets.data, parts.cutmix.targets.flat()) <= 1, 'CutMix targets');
  const smooth = native().mixBatch({ pixels, labels, lambda: 1, smoothing: 0.1, classes: 1000 }).targets.data;
  t.ok(worst(smooth.subarray(0, 2), parts.smoothing) <= 1, 'smoothing: 0.9001 and 0.0001');
});

t.test('new weights: names, counts and draws', async (t) => {
  const counts: Record<string, number> = { vit_tiny_patch16_224: 5_717_416 };
  for (const [name, expected] of Object.entries(counts)) t.equal(native().classifierInfo(native().createClassifier({ name, classes: 1000 })).parameters, expected, `${name}, the paper's count`);
  t.same(native().nameTables().models, [...MODEL_NAMES], 'the same names on both sides');
  const handle = native().createClassifier({ ...reference.config, seed: 7 });
  const weights = native().classifierWeights(handle);
  t.same(Object.fromEntries(Object.entries(weights).map(([name, tensor]) => [name, tensor.shape])), reference.shapes, 'names and shapes are those of timm');
  const token = Array.from((weights['cls_token'] as { data: Float32Array }).data, (v) => v / 1e-6);
  t.ok(worst(token, reference.randn, { rtol: 1e-4, atol: 1e-4 }) <= 1, 'the first draw is torch.randn of the seed (standard deviation 1e-6 in float32)');
  const qkv = (weights['blocks.0.attn.qkv.weight'] as { data: Float32Array }).data;
  const deviation = Math.sqrt(qkv.reduce((sum, v) => sum + v * v, 0) / qkv.length);
  t.ok(Math.abs(deviation - 0.02) < 0.002, `truncated normal of 0.02: ${deviation}`);
});

t.test('the same seed gives the same bytes on any number of threads', async (t) => {
  const options = short({ mixup: true, dropPath: 0.2, labelSmoothing: 0.1, augment: { randAugment: true, randomErasing: true } });
  const one = await trainClassifier({ ...options, threads: 1 });
  const two = await trainClassifier({ ...options, threads: 2 });
  t.ok(sameWeights(one, two));
  t.same(one.training?.losses, two.training?.losses);
  const other = await trainClassifier({ ...options, seed: 1 });
  t.notOk(sameWeights(one, other), 'another seed, other weights');
});

t.test('a run that is stopped and resumed equals an unbroken one bit for bit', async (t) => {
  const folder = t.testdir();
  const checkpoint = join(folder, 'run.safetensors');
  const options = short({ steps: 12, validate: dataset(4, 2, 32, 50), evaluateEvery: 5, keep: 'best', mixup: true, dropPath: 0.1, optimizer: { type: 'adamw' } });
  const whole = await trainClassifier(options);
  for (const [name, stopAt] of [
    ['at a checkpoint', 4],
    ['between two', 7],
  ] as const) {
    const job = trainClassifier({ ...options, checkpoint, checkpointEvery: 4 });
    for await (const event of job) if (event.type === 'step' && event.step === stopAt) break;
    const events: TrainEvent[] = [];
    const resumed = trainClassifier({ ...options, checkpoint, checkpointEvery: 4, resume: true });
    for await (const event of resumed) events.push(event);
    const classifier = await resumed;
    t.ok(sameWeights(classifier, whole), name);
    t.same(classifier.training, whole.training, `${name}: history and evaluations too`);
    const first = events.find((event) => event.type === 'step');
    t.ok(first !== undefined && first.step > stopAt - 1, `${name}: it went on from step ${first?.step}`);
    await rm(checkpoint);
  }
  const sgd = short({ steps: 6, optimizer: { type: 'sgd' } });
  const job = trainClassifier({ ...sgd, checkpoint, checkpointEvery: 1 });
  for await (const event of job) if (event.type === 'step' && event.step === 3) break;
  t.ok(sameWeights(await trainClassifier({ ...sgd, checkpoint, resume: true }), await trainClassifier(sgd)), 'SGD');

  const foreign = await thrown(() => trainClassifier({ ...sgd, lr: 0.5, checkpoint, resume: true }));
  t.equal(foreign.code, 'ERR_INVALID_ARGUMENT');
  t.match(foreign.message, /belongs to a run with other options or data/);
  await writeFile(checkpoint, 'garbage');
  t.equal((await thrown(() => trainClassifier({ ...sgd, checkpoint, resume: true }))).code, 'ERR_FILE_FORMAT');
});

t.test('the best weights are kept when asked', async (t) => {
  const validate = dataset(6, 2, 32, 90);
  const classifier = await trainClassifier(short({ steps: 20, lr: 3e-3, validate, evaluateEvery: 2, keep: 'best' }));
  const { best, evaluations = [] } = classifier.training ?? {};
  t.equal(best?.accuracy, Math.max(...evaluations.map((e) => e.accuracy)));
  t.equal((await classifier.evaluate(validate)).accuracy, best?.accuracy);
});

t.test('a loss that is not finite stops the run and leaves the last good checkpoint', async (t) => {
  const checkpoint = join(t.testdir(), 'run.safetensors');
  const options = short({ steps: 200, lr: 1e3, warmupLr: 1e-3, warmupSteps: 4, checkpoint, checkpointEvery: 2 });
  const error = await thrown(() => trainClassifier(options));
  t.equal(error.code, 'ERR_NOT_FINITE', error.message);
  t.match(error.message, /became .* at step \d+; lower the learning rate\. The weights of step \d+ are untouched, the last checkpoint stands/);
  const { tensors } = readSafetensors(checkpoint);
  t.ok(Object.entries(tensors).every(([name, { data }]) => !name.startsWith('model.') || (data as Float32Array).every(Number.isFinite)), 'finite weights in the checkpoint');
});

t.test('weights that do not fit', async (t) => {
  const folder = await goldenFolder(t.testdir());
  const path = join(folder, 'model.safetensors');
  const { tensors } = readSafetensors(path);
  const { 'head.bias': bias, ...others } = tensors as Record<string, ReturnType<typeof ramp>>;
  for (const [name, changed, code, message] of [
    ['missing', others, 'ERR_WEIGHTS', /1 missing: head\.bias$/],
    ['unexpected', { ...tensors, extra: ramp(1, [2]) }, 'ERR_WEIGHTS', /1 unexpected: extra$/],
    ['reshaped', { ...others, 'head.bias': ramp(1, [9]) }, 'ERR_WEIGHTS', /1 of another shape: head\.bias \[9\] for \[5\]$/],
    ['NaN', { ...others, 'head.bias': { ...(bias as ReturnType<typeof ramp>), data: new Float32Array(5).fill(NaN) } }, 'ERR_NOT_FINITE', /head\.bias, received 5 of 5/],
  ] as const) {
    writeSafetensors(path, changed);
    const error = await thrown(() => loadClassifier(folder));
    t.equal(error.code, code, `${name}: ${error.message}`);
    t.match(error.message, message, name);
  }
  await writeFile(join(folder, 'config.json'), '{"num_classes": "many"}');
  t.equal((await thrown(() => loadClassifier(folder))).code, 'ERR_FILE_FORMAT');
  await writeFile(join(folder, 'config.json'), '{');
  t.equal((await thrown(() => loadClassifier(folder))).code, 'ERR_FILE_FORMAT');
});

t.test('saved and loaded', async (t) => {
  const folder = t.testdir();
  const data = dataset(8);
  const classifier = await trainClassifier(short({ train: data, mean: [0.4, 0.5, 0.6], std: [0.2, 0.3, 0.4], cropShare: 0.9 }));
  const images = (await data.load()).map((sample) => sample.image);
  const before = await classifier.logits(images);
  for (const [dtype, tolerance] of [
    ['float32', 0],
    ['float16', 0.02],
  ] as const) {
    await classifier.save(join(folder, dtype), { dtype });
    const loaded = await loadClassifier(join(folder, dtype));
    t.same(loaded.classes, classifier.classes);
    const after = await loaded.logits(images);
    t.ok(worst(after.data, before.data, { rtol: 0, atol: tolerance || Number.MIN_VALUE }) <= 1, dtype);
  }
  const config = JSON.parse(await readFile(join(folder, 'float32', 'config.json'), 'utf8')) as { pretrained_cfg: { mean: number[] }; model_args: { embed_dim: number } };
  t.same(config.pretrained_cfg.mean, [0.4, 0.5, 0.6]);
  t.equal(config.model_args.embed_dim, 32);
  await writeFile(join(folder, 'file'), '');
  t.equal((await thrown(() => classifier.save(join(folder, 'file', 'below')))).code, 'ERR_FILE_NOT_FOUND');
});

t.test('evaluation', async (t) => {
  const data = dataset(10);
  const classifier = await trainClassifier(short({ train: data, steps: 60, lr: 3e-3, augment: { scale: [1, 1], ratio: [1, 1], flip: 0 } }));
  const result = await classifier.evaluate(data);
  t.equal(result.accuracy, 1, 'ten pictures can be learnt by heart');
  t.equal(result.balancedAccuracy, 1);
  t.same(result.confusion, [[5, 0], [0, 5]]);
  t.equal(result.count, 10);
  t.ok(result.interval.high === 1 || result.interval.high > 0.99);
  t.ok(Math.abs(result.interval.low - 0.7225) < 1e-3, 'Wilson interval of 10 of 10');
  t.same(result.predictions, data.labels);
});

t.test('bfloat16 stays near float32', async (t) => {
  const [single, brain] = await Promise.all([trainClassifier(short()), trainClassifier(short({ precision: 'bfloat16' }))]);
  // bfloat16 keeps 8 bits: losses agree to about one per cent.
  t.ok(worst(brain.training?.losses ?? [], single.training?.losses ?? [], { rtol: 0.02, atol: 0 }) <= 1);
  t.notSame(brain.training?.losses, single.training?.losses);
});

t.test('one fractal: its copies can be learnt, and give a start', async (t) => {
  const options = { model: 'vit_micro_patch4_32', count: 4, size: 64, points: 3000, padding: 2, delta: 0.3, steps: 60, batchSize: 16, lr: 2e-3, warmupSteps: 5, mixup: false, labelSmoothing: 0, dropPath: 0, augment: { scale: [0.9, 1], flip: 0 } } as const;
  const events: string[] = [];
  const job = onePFrac({ ...options, stages: [{}, { count: 6, steps: 10 }] });
  for await (const event of job) if (event.type === 'fractals') events.push(`${event.stage}: ${event.family.copies.length}`);
  const { backbone, samples, losses, family } = await job;
  t.same(events, ['0: 4', '1: 6']);
  t.equal(samples, 70 * 16);
  t.equal(losses.length, 70);
  t.equal(family.copies.length, 6);
  t.ok((losses[59] ?? Infinity) < Math.log(4) - 0.3, `loss ${losses[59]} after stage 0, guessing ${Math.log(4)}`);
  const classifier = await trainClassifier({ ...short(), model: undefined, init: backbone });
  t.equal(classifier.info.width, 96, 'the sizes of the backbone');
  t.equal(classifier.info.classes, 2, 'a head of its own');
  const collapsed: unknown[] = [];
  const hopeless = onePFrac({ ...options, delta: 0, mask: 'fill', steps: 300, batchSize: 4 });
  for await (const event of hopeless) if (event.type === 'collapse') collapsed.push(event.step);
  t.same(collapsed, [300], 'equal copies cannot be told apart: said so');
  const base = fractals.sample({ maps: 3, sigmaFactor: 6, seed: 9 });
  const drawn = { base, texture: 'paste', renderPrecision: 'exact', start: 'fixedPoint', probabilities: 'perturbed' } as const;
  const given = await onePFrac({ ...options, ...drawn, steps: 3, warmupSteps: 0, precision: 'bfloat16' });
  const { renderPrecision: precision, ...rest } = drawn;
  t.same(given.family, await fractals.family({ ...rest, precision, count: 4, size: 64, points: 3000, padding: 2, delta: 0.3 }), 'a given system, drawn as the released code draws it');
});

t.test('the shipped backbone loads and learns', async (t) => {
  const backbone = await loadClassifier('fractal-vit-nano');
  t.equal(backbone.info.width, 128);
  const pool = (await openDataset(join('models', 'emoji', 'train.tar'))).subset({ shots: 2 });
  const classifier = await trainClassifier({ init: 'fractal-vit-nano', train: pool, steps: 3, batchSize: 8 });
  t.equal(classifier.classes.length, 10);
});

t.test('memory errors are coded', async (t) => {
  const handle = (): unknown => native().createClassifier({ imageSize: 4096, patchSize: 1, width: 65536, depth: 1, heads: 1, classes: 2 });
  const error = await thrown(handle);
  t.equal(error.code, 'ERR_OUT_OF_MEMORY', error.message);
  t.ok(fractals.sample(), 'and the addon goes on');
});

t.test('a checkpoint folder that vanishes is an error, not a crash', async (t) => {
  const folder = t.testdir({ run: {} });
  const job = trainClassifier(short({ steps: 5000, checkpoint: join(folder, 'run', 'x'), checkpointEvery: 5 }));
  let vanished = false;
  const error = await thrown(async () => {
    for await (const event of job) {
      if (event.type !== 'checkpoint' || vanished) continue;
      vanished = true;
      await rename(join(folder, 'run'), join(folder, 'elsewhere'));
    }
    await job;
  });
  t.equal(error.code, 'ERR_FILE_WRITE');
});
