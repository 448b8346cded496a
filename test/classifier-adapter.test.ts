import { statSync } from 'node:fs';
import { join } from 'node:path';
import { mkdir, writeFile } from 'node:fs/promises';
import t from 'tap';
import { native } from '#lib/native.js';
import { nativeTrainOptions } from '#lib/train-options.js';
import { ADAPTER_TARGETS, Dataset, loadClassifier, readSafetensors, trainClassifier, writeSafetensors, type Classifier, type Image, type Tensor, type TrainClassifierOptions } from 'seedbed';
import { seedbed } from './command.js';
import { golden, picture, ramp, refused, thrown, worst, writeClassifierFolder } from './support.js';

interface Golden {
  rank: number;
  alpha: number;
  targets: string[];
  shapes: Record<string, number[]>;
  logits: number[][];
  losses: number[];
  parameters: Record<string, number[]>;
}

const reference = golden('vit_lora') as Golden;
const vit = golden('vit') as { config: { imageSize: number; patchSize: number; width: number; depth: number; heads: number; classes: number }; shapes: Record<string, number[]>; labels: number[] };
const root = t.testdir();

/** The weights of scripts/golden/vit.py. */
async function baseFolder(name: string): Promise<string> {
  const folder = join(root, name);
  await mkdir(folder, { recursive: true });
  const weights = Object.entries(vit.shapes).map(([parameter, shape], salt) => {
    const tensor = ramp(salt, shape, shape.length > 1 ? 0.4 : 0.2);
    if (parameter.includes('norm') && parameter.endsWith('weight')) tensor.data.forEach((v, i) => (tensor.data[i] = v + 1));
    return [parameter, tensor] as const;
  });
  await writeFile(join(folder, 'config.json'), writeClassifierFolder(folder, vit.config, Object.fromEntries(weights)));
  return folder;
}

const base = await baseFolder('base');
const { config } = vit;
const images = reference.logits.map((_, salt) => picture(config.imageSize, config.imageSize, 3, salt));

/** The factors of scripts/golden/vit_lora.py. */
function factors(zeroUp: boolean): Record<string, { down: Tensor; up: Tensor; scale: number }> {
  const layers = Object.keys(reference.shapes).filter((name) => name.endsWith('.down')).map((name) => name.slice(0, -'.down'.length));
  return Object.fromEntries(
    layers.map((layer) => {
      const [, block, part] = /^blocks\.(\d+)\.attn\.qkv\.(.)$/.exec(layer) as unknown as [string, string, string];
      const salt = 100 + 10 * Number(block) + 2 * reference.targets.indexOf(part);
      const up = ramp(salt + 1, reference.shapes[`${layer}.up`] as number[], 0.8);
      return [layer, { down: ramp(salt, reference.shapes[`${layer}.down`] as number[], 0.8), up: zeroUp ? { ...up, data: up.data.map(() => 0) } : up, scale: reference.alpha / reference.rank }];
    }),
  );
}

const dataset = (count: number, classes = 3, offset = 0, size = 16): Dataset =>
  new Dataset({
    name: 'pictures',
    classes: Array.from({ length: classes }, (_, i) => `class ${i}`),
    entries: Array.from({ length: count }, (_, i) => ({ key: `p${offset + i}`, label: i % classes, read: (): Promise<Image> => Promise.resolve(picture(size, size, 3, offset + i)) })),
  });
const short = (extra: Partial<TrainClassifierOptions> = {}): TrainClassifierOptions => ({ init: base, train: dataset(9), steps: 6, batchSize: 6, shardSize: 3, lr: 0.01, adapters: { rank: 2 }, threads: 1, ...extra });
const bytes = (weights: Record<string, Tensor>, pick: (name: string) => boolean = () => true): string =>
  Object.entries(weights).filter(([name]) => pick(name)).map(([name, { data }]) => `${name} ${Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64')}`).sort().join('\n');
const logitsOf = async (classifier: Classifier): Promise<Float32Array> => (await classifier.logits(images, { threads: 1 })).data;

t.test('wrong options and files', async (t) => {
  using trained = await trainClassifier(short());
  using plain = await loadClassifier(base);
  const file = join(root, 'one.safetensors');
  trained.saveAdapter(file);
  const { tensors, metadata } = readSafetensors(file);
  const changed = (name: string, change: (all: Record<string, Tensor>) => Record<string, Tensor>): string => {
    writeSafetensors(join(root, `${name}.safetensors`), change(tensors), metadata);
    return join(root, `${name}.safetensors`);
  };
  const layer = 'blocks.0.attn.qkv.q';
  const other = await baseFolder('other');
  const weights = readSafetensors(join(other, 'model.safetensors')).tensors;
  const norm = weights['norm.weight'] as Tensor<'float32'>;
  writeSafetensors(join(other, 'model.safetensors'), { ...weights, 'norm.weight': { ...norm, data: norm.data.map((v) => v + 1) } });
  await refused(t, [
    ['adapters without a start', () => trainClassifier({ train: dataset(9), adapters: {} }), 'ERR_INVALID_ARGUMENT', /init.*with adapters/],
    ['rank 0', () => trainClassifier(short({ adapters: { rank: 0 } })), 'ERR_INVALID_ARGUMENT', /adapters\.rank/],
    ['alpha without rank', () => trainClassifier(short({ adapters: { alpha: 4 } })), 'ERR_INVALID_ARGUMENT', /adapters\.rank with adapters\.alpha/],
    ['an unknown layer', () => trainClassifier(short({ adapters: { targets: ['query' as never] } })), 'ERR_INVALID_ARGUMENT', /adapters\.targets.*'query'/],
    ['a misspelt option', () => trainClassifier(short({ adapters: { rnk: 2 } as never })), 'ERR_INVALID_ARGUMENT', /did you mean 'rank'/],
    ['an adapter of a classifier that has none', () => plain.saveAdapter(join(root, 'none.safetensors')), 'ERR_INVALID_ARGUMENT', /trained with adapters/],
    ['a file that is not there', () => loadClassifier(base, { adapter: join(root, 'nowhere.safetensors') }), 'ERR_FILE_NOT_FOUND', /nowhere/],
    ['another file', () => loadClassifier(base, { adapter: join(base, 'model.safetensors') }), 'ERR_FILE_FORMAT', /adapter in .*as saveAdapter writes it/],
    ['another base', () => loadClassifier(other, { adapter: file }), 'ERR_WEIGHTS', /trained on other weights/],
    ['a factor without its partner', () => loadClassifier(base, { adapter: changed('half', (all) => Object.fromEntries(Object.entries(all).filter(([name]) => name !== `${layer}.lora_A.weight`))) }), 'ERR_WEIGHTS', /lora_A\.weight' beside/],
    ['no factors', () => loadClassifier(base, { adapter: changed('bare', (all) => Object.fromEntries(Object.entries(all).filter(([name]) => !name.includes('lora')))) }), 'ERR_WEIGHTS', /factors.*found none/],
    ['a factor of another shape', () => loadClassifier(base, { adapter: changed('wide', (all) => ({ ...all, [`${layer}.lora_A.weight`]: ramp(1, [2, 25]) })) }), 'ERR_WEIGHTS', /\[r, 24\]/],
    ['a layer that is not there', () => loadClassifier(base, { adapter: changed('deep', (all) => ({ ...all, 'blocks.9.x.lora_A.weight': ramp(1, [2, 24]), 'blocks.9.x.lora_B.weight': ramp(1, [24, 2]) })) }), 'ERR_WEIGHTS', /blocks\.9\.x/],
    ['NaN', () => loadClassifier(base, { adapter: changed('nan', (all) => ({ ...all, [`${layer}.lora_A.weight`]: { data: new Float32Array(48).fill(NaN), shape: [2, 24], dtype: 'float32' } })) }), 'ERR_NOT_FINITE', /qkv\.q/],
  ]);
});

t.test('logits and five steps of AdamW are PEFT’s', async (t) => {
  const weights = join(base, 'model.safetensors');
  const handle = native().createClassifier({ ...config, weights, adapter: factors(false) });
  const view = { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5], cropShare: 1, threads: 1 };
  const predicted = await new Promise<Tensor<'float32'>>((resolve, reject) => native().predictClassifier(handle, { images, ...view }, (kind, value) => (kind === 'done' ? resolve(value as Tensor<'float32'>) : reject(new Error((value as { message: string }).message)))));
  t.ok(worst(predicted.data, reference.logits.flat(), { rtol: 1e-5, atol: 5e-6 }) <= 1, `logits (${worst(predicted.data, reference.logits.flat(), { rtol: 1e-5, atol: 5e-6 }).toFixed(3)})`);
  for (const shardSize of [4, 1]) {
    const fresh = native().createClassifier({ ...config, weights });
    const set = native().createImageSet({ images: images.slice(0, 4), labels: vit.labels, classes: config.classes });
    const options = nativeTrainOptions({ augment: { scale: [1, 1], ratio: [1, 1], flip: 0 }, steps: 5, batchSize: 4, shardSize, lr: 1e-3, warmupLr: 1e-3, warmupSteps: 5, minLr: 0, labelSmoothing: 0.1, optimizer: { type: 'adamw', weightDecay: 0.05 }, threads: 1 });
    const losses = await new Promise<number[]>((resolve, reject) => native().trainClassifier(fresh, { ...options, train: set, adapters: { factors: factors(true) } }, (kind, value) => (kind === 'done' ? resolve((value as { losses: number[] }).losses) : kind === 'error' ? reject(new Error((value as { message: string }).message)) : undefined)));
    t.ok(worst(losses, reference.losses, { rtol: 1e-4 }) <= 1, `losses, shards of ${shardSize} (${worst(losses, reference.losses, { rtol: 1e-4 }).toFixed(3)})`);
    const { factors: trained, head } = native().classifierAdapter(fresh) as NonNullable<ReturnType<ReturnType<typeof native>['classifierAdapter']>>;
    let ratio = 0;
    for (const [name, values] of Object.entries(reference.parameters)) {
      const [, layer, role] = /^(.*)\.(down|up)$/.exec(name) ?? [];
      const own = layer === undefined ? head[name] : trained[layer]?.[role as 'down' | 'up'];
      ratio = Math.max(ratio, worst((own as Tensor<'float32'>).data, values, { rtol: 1e-4, atol: 1e-4 }));
    }
    t.ok(ratio <= 1, `factors and head, shards of ${shardSize} (${ratio.toFixed(3)})`);
    t.equal(Object.keys(trained).length + 1, Object.keys(reference.parameters).length / 2, 'as many as PEFT');
  }
});

t.test('trained, saved small, loaded, merged: the same answers; the base stays as it was', async (t) => {
  using start = await loadClassifier(base);
  const before = bytes(start.weights());
  using trained = await trainClassifier(short({ init: start }));
  t.equal(bytes(start.weights()), before);
  t.same(trained.adapter && { rank: trained.adapter.rank, alpha: trained.adapter.alpha, targets: trained.adapter.targets }, { rank: 2, alpha: 2, targets: ['q', 'v'] });
  t.equal(trained.info.adapterParameters, 3 * 2 * (2 * 24 + 24 * 2), 'three blocks, queries and values');
  const weights = trained.weights();
  t.equal(bytes(weights, (name) => !/qkv\.weight|^head/.test(name)), bytes(start.weights(), (name) => !/qkv\.weight|^head/.test(name)), 'all else is as in the base');
  const qkv = (of: Record<string, Tensor>): Float32Array => (of['blocks.1.attn.qkv.weight'] as Tensor<'float32'>).data;
  const rows = (data: Float32Array, part: number): Float32Array => data.subarray(part * 24 * 24, (part + 1) * 24 * 24);
  t.same(rows(qkv(weights), 1), rows(qkv(start.weights()), 1), 'keys too');
  for (const part of [0, 2]) t.ok(worst(rows(qkv(weights), part), rows(qkv(start.weights()), part)) > 1, `part ${part} is changed`);

  const expected = await logitsOf(trained);
  trained.saveAdapter(join(root, 'adapter.safetensors'));
  t.ok(statSync(join(root, 'adapter.safetensors')).size < statSync(join(base, 'model.safetensors')).size / 4, 'small');
  using loaded = await loadClassifier(base, { adapter: join(root, 'adapter.safetensors') });
  t.same(await logitsOf(loaded), expected, 'loaded: the same bytes');
  t.same([loaded.classes, loaded.adapter?.rank], [trained.classes, 2]);
  using merged = loaded.merged();
  t.equal(merged.adapter, undefined);
  t.ok(worst(await logitsOf(merged), expected, { rtol: 1e-5, atol: 1e-5 }) <= 1, 'merged: the same up to rounding');
  await trained.save(join(root, 'whole'));
  using whole = await loadClassifier(join(root, 'whole'));
  t.same(await logitsOf(whole), await logitsOf(merged), 'saved as a whole: what merging gives');
  using further = await trainClassifier(short({ init: loaded, adapters: { rank: 3, targets: [...ADAPTER_TARGETS] } }));
  t.equal(further.info.adapterParameters, 3 * 3 * (4 * (24 + 24) + (24 + 72) + 2 * (24 + 96)), 'every layer of a block; the first adapter is in the new base');
});

t.test('the same bytes for any number of threads, after resuming, and with the best kept', async (t) => {
  const run = async (options: Partial<TrainClassifierOptions> = {}): Promise<string> => {
    using classifier = await trainClassifier(short(options));
    return bytes(classifier.weights());
  };
  const first = await run();
  t.equal(await run({ threads: 2 }), first);
  t.not(await run({ seed: 1 }), first);
  t.not(await run({ adapters: { rank: 2, init: 'gaussian' } }), first);
  t.ok(await run({ precision: 'bfloat16', adapters: { rank: 2, targets: ['q', 'qkv', 'fc1'] } }));
  const checkpoint = join(root, 'run.safetensors');
  const job = trainClassifier(short({ checkpoint }));
  for await (const event of job) if (event.type === 'step' && event.step === 3) break;
  t.equal(await run({ checkpoint, resume: true }), first, 'resumed');
  const error = await thrown(() => run({ checkpoint, resume: true, adapters: { rank: 3 } }));
  t.match([error.code, error.message], ['ERR_INVALID_ARGUMENT', /other options or data/]);
  const validate = dataset(6, 3, 50);
  using best = await trainClassifier(short({ validate, evaluateEvery: 2, keep: 'best', lr: 0.1 }));
  const { accuracy } = await best.evaluate(validate, { threads: 1 });
  t.equal(accuracy, best.training?.best?.accuracy, 'the adapter of the best step');
});

t.test('seedbed train --adapter-rank', async (t) => {
  const photos = join(root, 'photos');
  const { encodePng } = await import('seedbed');
  for (const name of ['a', 'b']) await mkdir(join(photos, name), { recursive: true });
  for (const i of [0, 1, 2, 3]) await writeFile(join(photos, i % 2 === 0 ? 'a' : 'b', `${i}.png`), await encodePng(picture(16, 16, 3, i)));
  const { code, stderr } = await seedbed(['train', photos, '--init', base, '--out', join(root, 'out'), '--adapter-rank', '2', '--steps', '4', '--batch-size', '4', '--validation', '0', '--threads', '1']);
  t.equal(code, 0, stderr);
  using small = await loadClassifier(base, { adapter: join(root, 'out', 'adapter.safetensors') });
  using whole = await loadClassifier(join(root, 'out'));
  t.same(small.classes, ['a', 'b']);
  t.ok(worst(await logitsOf(small), await logitsOf(whole), { rtol: 1e-5, atol: 1e-5 }) <= 1);
});
