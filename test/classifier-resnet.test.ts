import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { Dataset, encodePng, loadClassifier, MODEL_NAMES, readSafetensors, trainClassifier, writeSafetensors, type Classifier, type Image, type Tensor, type TrainClassifierOptions } from 'seedbed';
import { nativeTrainOptions } from '#lib/train-options.js';
import { native } from '#lib/native.js';
import { readRecord, type TrainRecord } from '#lib/report/record.js';
import { seedbed } from './command.js';
import { golden, picture, ramp, refused, thrown, worst } from './support.js';

interface Trained {
  losses: number[];
  state: Record<string, number[]>;
}
interface Case {
  config: { type: 'resnet'; block: 'basic' | 'bottleneck'; layers: [number, number, number, number]; stem: 'large' | 'small'; imageSize: number; width: number; classes: number };
  shapes: Record<string, number[]>;
  logits: number[][];
  whole: Trained;
  sharded: Trained;
  plain: Trained;
  frozen: Trained;
  probe: Trained;
}

const reference = golden('resnet') as { labels: number[]; cases: Record<string, Case>; timm: Record<string, Record<string, number[]>>; conv1: number[] };
const cases = Object.entries(reference.cases);

/** The tensors of scripts/golden/resnet.py. */
function filled(shapes: Record<string, number[]>): Record<string, Tensor> {
  const tensors = Object.entries(shapes).map(([name, shape], salt): [string, Tensor] => {
    if (name.endsWith('num_batches_tracked')) return [name, { data: BigInt64Array.of(7n), shape, dtype: 'int64' }];
    const tensor = ramp(salt, shape, shape.length === 4 ? 0.6 : 0.4);
    if (shape.length === 1 && /(weight|running_var)$/.test(name)) tensor.data.forEach((v, i) => (tensor.data[i] = v + 1));
    return [name, tensor];
  });
  return Object.fromEntries(tensors);
}

/** The pictures of scripts/golden/resnet.py. */
function roughPicture(size: number, salt: number): Image {
  const data = Uint8Array.from({ length: size * size * 3 }, (_, i) => ((7919 * i * i + 31 * i + 104729 * salt) % 65521) % 256);
  return { data, width: size, height: size, channels: 3 };
}

async function folderOf(folder: string, { config, shapes }: Case, weights = filled(shapes)): Promise<string> {
  writeSafetensors(join(folder, 'model.safetensors'), weights);
  const { block, layers, stem, imageSize, width, classes } = config;
  const json = {
    architecture: block === 'basic' ? 'resnet18' : 'resnet50',
    num_classes: classes,
    model_args: { layers, channels: [width, 2 * width, 4 * width, 8 * width] },
    pretrained_cfg: { input_size: [3, imageSize, imageSize], mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5], crop_pct: 1 },
    seedbed: { name: 'golden', stem },
  };
  await writeFile(join(folder, 'config.json'), JSON.stringify(json));
  return folder;
}

function dataset(count: number, size = 16, offset = 0): Dataset {
  const entries = Array.from({ length: count }, (_, i) => ({ key: `p${offset + i}`, label: i % 2, read: (): Promise<Image> => Promise.resolve(picture(size, size, 3, offset + i)) }));
  return new Dataset({ name: 'pictures', classes: ['even', 'odd'], entries });
}

const tiny = { type: 'resnet', imageSize: 16, width: 4, layers: [1, 1, 1, 1], stem: 'small' } as const;
const short = (extra: Partial<TrainClassifierOptions> = {}): TrainClassifierOptions => ({ model: tiny, train: dataset(12), steps: 4, batchSize: 8, shardSize: 4, ...extra });

const bytes = ({ data }: Tensor): Buffer => Buffer.from(data.buffer, data.byteOffset, data.byteLength);
const same = (a: Tensor | undefined, b: Tensor | undefined): boolean => a !== undefined && b !== undefined && bytes(a).equals(bytes(b));
const sameWeights = (a: Classifier, b: Classifier): boolean => {
  const other = b.weights();
  return Object.entries(a.weights()).every(([name, tensor]) => same(tensor, other[name]));
};

t.test('wrong options', async (t) => {
  const init = await folderOf(t.testdir(), (cases[0] as [string, Case])[1]);
  await refused(t, [
    ['three stages', () => trainClassifier(short({ model: { ...tiny, layers: [1, 1, 1] as never } })), 'ERR_INVALID_ARGUMENT', /model\.layers/],
    ['an unknown kind', () => trainClassifier(short({ model: { ...tiny, type: 'resnext' as never } })), 'ERR_INVALID_ARGUMENT', /one of 'vit', 'resnet' for model\.type, received 'resnext'/],
    ['an unknown kind of optimizer', () => trainClassifier(short({ optimizer: { type: 'lion' } as never })), 'ERR_INVALID_ARGUMENT', /one of 'adamw', 'sgd' for optimizer\.type, received 'lion'/],
    ['an unknown stem', () => trainClassifier(short({ model: { ...tiny, stem: 'tall' as never } })), 'ERR_INVALID_ARGUMENT', /one of 'large', 'small' for model\.stem, received 'tall'/],
    ['a size of the other kind', () => trainClassifier(short({ model: { ...tiny, patchSize: 4 } as never })), 'ERR_INVALID_ARGUMENT', /patchSize/],
    ['one value a channel', () => trainClassifier(short({ model: { ...tiny, imageSize: 8 }, shardSize: 1 })), 'ERR_INVALID_ARGUMENT', /more than one value a channel .* received 1 pictures of 1 x 1; raise batchSize or shardSize/],
    ['frozen without a start', () => trainClassifier(short({ freeze: 'backbone' })), 'ERR_INVALID_ARGUMENT', /Expected init, a trained classifier, with freeze: 'backbone'/],
    ['frozen beside adapters', () => trainClassifier({ ...short(), init: 'fractal-vit-nano', adapters: {}, freeze: 1 }), 'ERR_INVALID_ARGUMENT', /either adapters.* or freeze/],
    ['more stages than there are', () => trainClassifier({ ...short(), model: undefined, init, freeze: 5 }), 'ERR_INVALID_ARGUMENT', /from 0 to 4 for freeze, received 5/],
    ['more blocks than there are', () => trainClassifier({ ...short(), model: undefined, init: 'fractal-vit-nano', freeze: 7 }), 'ERR_INVALID_ARGUMENT', /from 0 to 6 for freeze, received 7/],
    ['freeze by another name', () => trainClassifier({ ...short(), init, freeze: 'head' as never }), 'ERR_INVALID_ARGUMENT', /freeze/],
    ['adapters of attention that is not there', () => trainClassifier({ ...short(), model: undefined, init, adapters: { targets: ['q'] } }), 'ERR_INVALID_ARGUMENT', /q/],
  ]);
});

t.test('logits equal timm', async (t) => {
  for (const [name, c] of cases) {
    const classifier = await loadClassifier(await folderOf(t.testdir({ [name]: {} }) + `/${name}`, c));
    const images = reference.labels.map((_, salt) => roughPicture(c.config.imageSize, salt));
    const logits = await classifier.logits(images);
    const close = worst(logits.data, c.logits.flat(), { atol: 2e-6 });
    t.ok(close <= 1, `${name} (${close.toFixed(3)})`);
    t.equal(classifier.info.type, 'resnet');
  }
});

/** Trains on with the reference's head: `init` would replace it, so the weights are put in place by name. */
async function continueFrom(path: string, c: Case, options: Partial<TrainClassifierOptions>): Promise<{ losses: number[]; weights: Record<string, Tensor> }> {
  const handle = native().createClassifier({ ...c.config, weights: path });
  const images = reference.labels.map((_, salt) => roughPicture(c.config.imageSize, salt));
  const set = native().createImageSet({ images, labels: reference.labels, classes: c.config.classes });
  const losses = await new Promise<number[]>((resolve, reject) => {
    native().trainClassifier(handle, { ...nativeTrainOptions(options), train: set }, (kind, value) => {
      if (kind === 'done') resolve((value as { losses: number[] }).losses);
      if (kind === 'error') reject(new Error((value as { message: string }).message));
    });
  });
  return { losses, weights: native().classifierWeights(handle) };
}

t.test('steps of SGD equal PyTorch: losses, weights and running averages', async (t) => {
  const sgd = { type: 'sgd', momentum: 0.9, weightDecay: 1e-2 } as const;
  // The learning rate is constant in the reference: a warm-up from and to the same rate keeps it so here.
  const options = { augment: { scale: [1, 1], ratio: [1, 1], flip: 0 }, steps: 2, batchSize: 4, lr: 1e-2, warmupLr: 1e-2, warmupSteps: 2, minLr: 0, optimizer: sgd } as const;
  for (const [name, c] of cases) {
    const path = join(await folderOf(t.testdir(), c), 'model.safetensors');
    for (const [part, extra] of [
      ['whole', { shardSize: 4 }],
      ['sharded', { shardSize: 2, seed: 8 }], // whose orders put the first two pictures into one shard, as the reference does
      ['plain', { shardSize: 4, optimizer: { ...sgd, nesterov: false } }],
      ['frozen', { shardSize: 4, freeze: 2 }],
      ['probe', { shardSize: 4, freeze: 'backbone' }],
    ] as const) {
      const { losses, weights } = await continueFrom(path, c, { ...options, ...extra });
      const expected = c[part];
      t.ok(worst(losses, expected.losses) <= 1, `${name}, ${part}: losses`);
      for (const [key, values] of Object.entries(expected.state)) {
        // Batch norms over few values divide by small deviations, so rounding grows from layer to layer.
        const close = worst(Array.from((weights[key] as Tensor).data as Float32Array, Number).slice(0, values.length), values, { rtol: 1e-5, atol: 1e-5 });
        t.ok(close <= 1, `${name}, ${part}: ${key} (${close.toFixed(3)})`);
      }
    }
  }
});

t.test('names, counts and first draws', (t) => {
  const counts = { resnet18: 11_689_512, resnet50: 25_557_032 };
  for (const [name, count] of Object.entries(counts)) {
    const handle = native().createClassifier({ name, classes: 1000, seed: 7 });
    const weights = native().classifierWeights(handle);
    t.equal(native().classifierInfo(handle).parameters, count, `${name}: torchvision's count`);
    t.same(Object.fromEntries(Object.entries(weights).map(([key, { shape }]) => [key, shape])), reference.timm[name], `${name}: timm's keys and shapes`);
    t.same(Object.keys(weights), Object.keys(reference.timm[name] ?? {}), `${name}: in timm's order`);
    t.ok(worst((weights['conv1.weight'] as Tensor<'float32'>).data.subarray(0, 6), reference.conv1) <= 1, `${name}: the first draw is PyTorch's of the seed`);
    t.ok((weights[`layer1.0.bn${name === 'resnet18' ? 2 : 3}.weight`] as Tensor<'float32'>).data.every((v) => v === 0), `${name}: a block begins as its shortcut`);
    native().dispose(handle);
  }
  t.ok(MODEL_NAMES.includes('resnet_nano_32'));
  t.end();
});

t.test('the same seed gives the same bytes on any number of threads', async (t) => {
  const options = short({ mixup: true, dropPath: 0.2, optimizer: { type: 'sgd' } });
  const one = await trainClassifier({ ...options, threads: 1 });
  const two = await trainClassifier({ ...options, threads: 2 });
  t.ok(sameWeights(one, two), 'running averages too');
  t.same(one.training?.losses, two.training?.losses);
});

t.test('a run that is stopped and resumed equals an unbroken one', async (t) => {
  const checkpoint = join(t.testdir(), 'run.safetensors');
  const options = short({ steps: 8, validate: dataset(4, 16, 50), evaluateEvery: 2, keep: 'best' });
  const whole = await trainClassifier(options);
  const job = trainClassifier({ ...options, checkpoint, checkpointEvery: 3 });
  for await (const event of job) if (event.type === 'step' && event.step === 5) break;
  const resumed = await trainClassifier({ ...options, checkpoint, checkpointEvery: 3, resume: true });
  t.ok(sameWeights(resumed, whole), 'running averages too');
  t.same(resumed.training, whole.training);
});

t.test('the best weights come with their running averages', async (t) => {
  const validate = dataset(8, 16, 50);
  const classifier = await trainClassifier(short({ steps: 12, lr: 1e-2, validate, evaluateEvery: 1, keep: 'best' }));
  const { evaluations = [], best } = classifier.training ?? {};
  const again = await classifier.evaluate(validate);
  t.equal(again.accuracy, best?.accuracy);
  t.ok(Math.abs(again.loss - (best?.loss ?? NaN)) < 1e-6, 'the loss of that step');
  t.ok(best !== undefined && best.step < evaluations.length, 'which was not the last');
});

t.test('frozen parts keep their bytes', async (t) => {
  const start = await trainClassifier(short());
  const before = start.weights();
  const changed = async (options: Partial<TrainClassifierOptions>): Promise<string[]> => {
    const after = (await trainClassifier({ ...short(options), model: undefined, init: start })).weights();
    return Object.keys(before).filter((name) => !same(before[name], after[name]));
  };
  const parts = (names: string[]): string[] => [...new Set(names.map((name) => name.split('.')[0] as string))];
  t.same(parts(await changed({})), ['conv1', 'bn1', 'layer1', 'layer2', 'layer3', 'layer4', 'fc']);
  t.same(parts(await changed({ freeze: 3, dropPath: 0.5 })), ['layer4', 'fc']);
  t.same(await changed({ freeze: 'backbone' }), ['fc.weight', 'fc.bias']);
});

t.test('a checkpoint goes on only above the same frozen weights', async (t) => {
  const checkpoint = join(t.testdir(), 'run.safetensors');
  const [start, other] = [await trainClassifier(short()), await trainClassifier(short({ seed: 1 }))];
  const options = { ...short({ steps: 6, freeze: 2, checkpoint, checkpointEvery: 2, resume: true }), model: undefined };
  const job = trainClassifier({ ...options, init: start });
  for await (const event of job) if (event.type === 'step' && event.step === 3) break;
  const error = await thrown(() => trainClassifier({ ...options, init: other }));
  t.match([error.code, error.message], ['ERR_INVALID_ARGUMENT', /other options or data/]);
  const resumed = await trainClassifier({ ...options, init: start });
  t.ok(sameWeights(resumed, await trainClassifier({ ...short({ steps: 6, freeze: 2 }), model: undefined, init: start })));
});

t.test('seedbed train --freeze, --optimizer', async (t) => {
  const root = t.testdir();
  const photos = join(root, 'photos');
  for (const name of ['even', 'odd']) await mkdir(join(photos, name), { recursive: true });
  for (const i of [0, 1, 2, 3]) await writeFile(join(photos, i % 2 === 0 ? 'even' : 'odd', `${i}.png`), await encodePng(picture(16, 16, 3, i)));
  await (await trainClassifier(short())).save(join(root, 'start'));
  const out = join(root, 'out');
  const train = (to: string, ...more: string[]) => seedbed(['train', photos, '--init', join(root, 'start'), '--out', to, '--freeze', 'backbone', '--steps', '3', '--batch-size', '4', '--validation', '0', '--threads', '1', ...more]);
  const { code, stderr } = await train(out);
  t.equal(code, 0, stderr);
  const [adamw, sgd] = [await readRecord(join(out, 'record.json')), await train(join(root, 'sgd'), '--optimizer', 'sgd').then(() => readRecord(join(root, 'sgd', 'record.json')))];
  t.match([adamw, sgd], [{ options: { optimizer: 'adamw', weightDecay: 0.05 } }, { options: { optimizer: 'sgd', weightDecay: 1e-4 } }]);
  t.notSame((sgd as TrainRecord).losses, (adamw as TrainRecord).losses);
  t.equal((await train(join(root, 'adam'), '--optimizer', 'adam')).code, 2);
  const [before, after] = [(await loadClassifier(join(root, 'start'))).weights(), (await loadClassifier(out)).weights()];
  t.ok(same(before['layer4.0.bn1.running_mean'], after['layer4.0.bn1.running_mean']));
  t.equal((await seedbed(['train', photos, '--out', out, '--freeze', 'some'])).code, 2);
});

t.test('frozen blocks of a vision transformer keep their bytes', async (t) => {
  const model = { imageSize: 16, patchSize: 8, width: 16, depth: 3, heads: 2 };
  const start = await trainClassifier(short({ model }));
  const before = start.weights();
  const changed = async (freeze: number | 'backbone'): Promise<string[]> => {
    const after = (await trainClassifier({ ...short({ freeze }), model: undefined, init: start })).weights();
    return Object.keys(before).filter((name) => !same(before[name], after[name]));
  };
  const names = await changed(2);
  t.notOk(names.some((name) => /^(cls_token|pos_embed|patch_embed|blocks\.[01])/.test(name)));
  t.same([...new Set(names.map((name) => name.replace(/\.(norm|attn|mlp).*|\.(weight|bias)$/, '')))], ['blocks.2', 'norm', 'head']);
  t.same(await changed('backbone'), ['head.weight', 'head.bias']);
});

t.test('saved and loaded', async (t) => {
  const folder = t.testdir();
  const classifier = await trainClassifier(short({ model: { ...tiny, block: 'bottleneck' }, mean: [0.4, 0.5, 0.6] }));
  await classifier.save(join(folder, 'half'), { dtype: 'float16' });
  t.equal(readSafetensors(join(folder, 'half', 'model.safetensors')).tensors['bn1.num_batches_tracked']?.dtype, 'int64', 'counts stay whole numbers');
  await classifier.save(folder);
  const loaded = await loadClassifier(folder);
  t.ok(sameWeights(classifier, loaded));
  t.same(loaded.info, classifier.info);
  t.same((await loadClassifier(join(folder, 'half'))).classes, ['even', 'odd']);
  const config = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8')) as { architecture: string; num_features: number; model_args: object; pretrained_cfg: { classifier: string } };
  t.same([config.architecture, config.num_features, config.model_args, config.pretrained_cfg.classifier], ['resnet50', 128, { layers: [1, 1, 1, 1], channels: [4, 8, 16, 32] }, 'fc']);
});

t.test("timm's and torchvision's files", async (t) => {
  const folder = t.testdir();
  const [, c] = cases[0] as [string, Case];
  const weights = filled(c.shapes);
  const counted = Object.fromEntries(Object.entries(weights).filter(([name]) => !name.endsWith('num_batches_tracked')));
  const uncounted = await loadClassifier(await folderOf(folder, c, counted));
  t.equal((uncounted.weights()['bn1.num_batches_tracked']?.data as BigInt64Array)[0], 0n, 'counts may be missing, as in files from before PyTorch kept them');
  const { 'bn1.running_mean': _, ...incomplete } = weights;
  await folderOf(folder, c, incomplete);
  const error = await thrown(() => loadClassifier(folder));
  t.equal(error.code, 'ERR_WEIGHTS');
  t.match(error.message, /1 missing: bn1\.running_mean$/);

  const shapes = reference.timm['resnet18'] as Record<string, number[]>;
  writeSafetensors(join(folder, 'model.safetensors'), Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, name.endsWith('tracked') ? { data: BigInt64Array.of(1n), shape, dtype: 'int64' } : ramp(1, shape, 0.1)])));
  await writeFile(join(folder, 'config.json'), JSON.stringify({ architecture: 'resnet18', num_classes: 1000, num_features: 512, pretrained_cfg: { input_size: [3, 224, 224], mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], crop_pct: 0.95 } }));
  const { parameters: __, ...sizes } = (await loadClassifier(folder)).info;
  t.same(sizes, { type: 'resnet', imageSize: 224, block: 'basic', layers: [2, 2, 2, 2], width: 64, stem: 'large', classes: 1000, dropPath: 0, adapterParameters: 0 }, "timm's config names the architecture alone");

  await writeFile(join(folder, 'config.json'), JSON.stringify({ architecture: 'resnet101', num_classes: 2 }));
  t.equal((await thrown(() => loadClassifier(folder))).code, 'ERR_FILE_FORMAT');
  await folderOf(folder, { ...c, config: { ...c.config, width: 3 } });
  const odd = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8')) as { model_args: { channels: number[] } };
  odd.model_args.channels[3] = 25;
  await writeFile(join(folder, 'config.json'), JSON.stringify(odd));
  t.match((await thrown(() => loadClassifier(folder))).message, /model_args\.channels: Expected channels that double/);
});

t.test('bfloat16 stays near float32', async (t) => {
  const [single, brain] = await Promise.all([trainClassifier(short()), trainClassifier(short({ precision: 'bfloat16' }))]);
  // bfloat16 keeps 8 bits: losses agree to about one per cent.
  t.ok(worst(brain.training?.losses ?? [], single.training?.losses ?? [], { rtol: 0.03, atol: 0 }) <= 1);
});

t.test('ten pictures can be learnt by heart', async (t) => {
  const data = dataset(10, 32);
  const classifier = await trainClassifier({ model: 'resnet_nano_32', train: data, steps: 30, batchSize: 10, lr: 3e-3, augment: { scale: [1, 1], ratio: [1, 1], flip: 0 } });
  t.equal((await classifier.evaluate(data)).accuracy, 1);
  const [first] = await classifier.predict([picture(32, 32, 3, 1)]);
  t.equal(first?.className, 'odd');
});
