import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Dataset, loadClip, trainClip, trainClipClassifier, type Image, type Tensor, type TrainClipClassifierOptions, type TrainEvent } from 'seedbed';
import { parseClipTextConfig, parseClipVisionConfig } from '#lib/diffusion/clip-config.js';
import { runNative } from '#lib/job.js';
import { native, type NativeTrainResult } from '#lib/native.js';
import { fill, integers, worstStored, writeFormulaModel, writeFormulaPipeline, type Stored, type StoredModel } from './formula.js';
import { golden, refused, runScript, thrown, worst } from './support.js';

interface Golden {
  model: StoredModel;
  ids: number[][];
  classes: number;
  labels: number[];
  rank: number;
  alpha: number;
  lr: number;
  shapes: Record<string, number[]>;
  zeroShot: number[];
  losses: number[];
  factors: Stored;
  trained: number[];
}

const root = t.testdir();
const stored = (golden('diffusion/pretrain') as { clipClassifier: Golden }).clipClassifier;
const VIEW = { mean: [0.48145466, 0.4578275, 0.40821073], std: [0.26862954, 0.26130258, 0.27577711], cropShare: 1 };
const faces = integers('input.pretrain.faces', [6, 32, 32, 3], 256);
const images = stored.labels.map((_, i): Image => ({ data: Uint8Array.from(faces.slice(i * 3072, (i + 1) * 3072)), width: 32, height: 32, channels: 3 }));

function create(): { clip: ReturnType<ReturnType<typeof native>['createClip']>; classifier: ReturnType<ReturnType<typeof native>['createClipClassifier']> } {
  const folder = writeFormulaModel(join(root, 'golden'), stored.model);
  const { text_config: text, vision_config: vision } = JSON.parse(stored.model.config) as Record<string, object>;
  const clip = native().createClip({
    text: parseClipTextConfig({ ...text, architectures: ['CLIPTextModelWithProjection'] }, 'text'), vision: parseClipVisionConfig({ ...vision, architectures: ['CLIPVisionModelWithProjection'] }, 'vision'),
    files: [join(folder, stored.model.file)],
  });
  const ids: Tensor<'int64'> = { data: BigInt64Array.from(stored.ids.flat(), BigInt), shape: [stored.ids.length, stored.ids[0]?.length ?? 0], dtype: 'int64' };
  return { clip, classifier: native().createClipClassifier(clip, { ids, counts: Array<number>(stored.classes).fill(stored.ids.length / stored.classes) }) };
}

type Classifier = ReturnType<typeof create>['classifier'];
const logitsOf = (classifier: Classifier): Promise<Tensor<'float32'>> => runNative((listener) => native().predictClipClassifier(classifier, { images, ...VIEW, threads: 1 }, listener), new AbortController().signal);

t.test("as transformers' CLIPModel, and after three updates as PEFT's factors in it", async (t) => {
  const { classifier } = create();
  t.ok(worst((await logitsOf(classifier)).data, stored.zeroShot, { rtol: 1e-4, atol: 1e-5 }) <= 1, 'as it is');
  const set = native().createImageSet({ images, labels: stored.labels, classes: stored.classes });
  const factors = (tower: RegExp): Record<string, unknown> =>
    Object.fromEntries(
      Object.entries(stored.shapes).flatMap(([name, shape]) => {
        if (!tower.test(name) || !name.endsWith('.down')) return [];
        const layer = name.replace(/\.down$/, '');
        const up = stored.shapes[`${layer}.up`] as number[];
        const down = fill(`${name}.weight`, shape).map((value) => Math.fround(0.3) * value);
        return [[layer, { down: { data: down, shape, dtype: 'float32' }, up: { data: new Float32Array((up[0] ?? 0) * (up[1] ?? 0)), shape: up, dtype: 'float32' }, scale: stored.alpha / stored.rank }]];
      }),
    );
  const call = {
    ...VIEW, train: set, steps: 3, batchSize: 6, shardSize: 4, lr: stored.lr, warmupSteps: 0, minLr: 0, threads: 1, optimizer: { weightDecay: 0.01, beta1: 0.9, beta2: 0.99 },
    augment: { minScale: 1, maxScale: 1, minRatio: 1, maxRatio: 1, flip: 0 }, textFactors: factors(/^text/), visionFactors: factors(/^vision/),
  };
  const result = await runNative<TrainEvent, NativeTrainResult & { parameters: number }>((listener) => native().trainClipClassifier(classifier, call, listener), new AbortController().signal);
  native().dispose(set);
  t.ok(worst(result.losses, stored.losses, { rtol: 1e-4 }) <= 1, result.losses.join());
  t.equal(result.parameters, Object.values(stored.shapes).reduce((sum, [a = 0, b = 0]) => sum + a * b, 0));
  const { text, vision } = native().clipClassifierFactors(classifier);
  const all = { ...text, ...vision };
  const flat = Float32Array.from(Object.keys(stored.shapes).sort().flatMap((name) => {
    const [, layer = '', part = ''] = /^(.*)\.(down|up)$/.exec(name) ?? [];
    return [...(all[layer]?.[part as 'down' | 'up'].data as Float32Array)];
  }));
  t.ok(worstStored({ data: flat, shape: [flat.length] }, stored.factors, { rtol: 1e-4, atol: 1e-5 }) <= 1, 'factors');
  t.ok(worst((await logitsOf(classifier)).data, stored.trained, { rtol: 1e-3, atol: 1e-4 }) <= 1, 'answers');
});

/** One colour each. */
const COLOURS = { red_paint: [220, 30, 30], green: [30, 200, 40], blue: [40, 40, 220] };
const painted = (colour: readonly number[], salt: number): Image => ({ data: Uint8Array.from({ length: 16 * 16 * 3 }, (_, i) => Math.min(255, (colour[i % 3] ?? 0) + ((i * 7 + salt * 13) % 20))), width: 16, height: 16, channels: 3 });
const data = (count: number, salt = 0): Dataset =>
  new Dataset({ name: 'colours', classes: Object.keys(COLOURS), entries: Object.values(COLOURS).flatMap((colour, label) => Array.from({ length: count }, (_, i) => ({ key: `${salt}/${label}-${i}`, label, read: () => Promise.resolve(painted(colour, salt + i)) }))) });

const pipeline = writeFormulaPipeline(join(root, 'pipeline'), 'sd1');
const folder = join(root, 'clip');
const tower = { width: 16, layers: 1, heads: 2 };
await trainClip(Object.values(COLOURS).map((colour) => painted(colour, 0)), Object.keys(COLOURS).map((name) => `a photo of ${name.replace('_', ' ')}`), { out: folder, tokenizer: join(pipeline, 'tokenizer'), steps: 3, batchSize: 3, text: tower, vision: { ...tower, patchSize: 8 }, projectionDim: 8, threads: 1 });

t.test('a class is the mean of its sentences, however many of each there are', async (t) => {
  using clip = await loadClip(folder);
  const picture = painted([200, 30, 30], 1);
  const texts = await clip.encodeTexts(['a cat', 'a red cat', 'a blue dog', 'a hen']);
  const { data: seen } = await clip.encodeImages([picture]);
  const row = (i: number): number[] => [...texts.data.subarray(i * 8, (i + 1) * 8)];
  const score = (rows: readonly number[][]): number => {
    const sum = Array.from({ length: 8 }, (_, k) => rows.reduce((total, one) => total + (one[k] ?? 0), 0));
    return sum.reduce((total, value, k) => total + value * (seen[k] ?? 0), 0) / Math.hypot(...sum);
  };
  const scale = clip.info.logitScale;
  using classifier = clip.classifier({ classes: ['cat', 'other', 'hen'], template: 'a {class}', names: { cat: ['cat', 'red cat'], other: ['blue dog', 'cat', 'hen'] } });
  const { data: scores } = await classifier.logits([picture]);
  for (const [i, rows] of [[row(0), row(1)], [row(2), row(0), row(3)], [row(3)]].entries()) t.ok(Math.abs((scores[i] ?? 0) - scale * score(rows)) < 1e-3 * scale, `${scores[i]} and ${scale * score(rows)}`);
  using trained = await trainClipClassifier({ clip, train: data(3), template: 'a photo of {class}', names: { red_paint: ['scarlet', 'crimson'] }, steps: 2, batchSize: 6, adapters: { rank: 2 }, threads: 1 });
  t.equal(trained.training?.losses.length, 2);
});

t.test('what trainClip wrote tells classes apart by sentences, better after training, and the same for any threads', async (t) => {
  using clip = await loadClip(folder);
  const texts = await clip.encodeTexts(['a red cat', 'a blue dog']);
  t.same(texts.shape, [2, 8]);
  for (const row of [0, 1]) t.ok(Math.abs(Math.hypot(...texts.data.subarray(row * 8, row * 8 + 8)) - 1) < 1e-5);
  const pictures = await clip.encodeImages([painted([9, 9, 9], 1)]);
  t.same(pictures.shape, [1, 8]);
  using before = clip.classifier({ classes: Object.keys(COLOURS), template: ['a photo of {class}', 'my {class}'] });
  const test = data(4, 50).as('test');
  const options = { clip, train: data(3), template: 'a photo of {class}', steps: 150, batchSize: 6, shardSize: 2, lr: 2e-2, adapters: { rank: 2, alpha: 4 }, augment: { scale: [1, 1], flip: 0 }, threads: 1 } satisfies TrainClipClassifierOptions;
  const steps: number[] = [];
  const job = trainClipClassifier(options);
  for await (const event of job) if (event.type === 'step') steps.push(event.step);
  using after = await job;
  t.equal(steps.length, 150);
  const [zero, trained] = [await before.evaluate(test), await after.evaluate(test)];
  t.equal(zero.count, 12);
  t.ok(trained.accuracy > 0.9 && trained.loss < zero.loss, `${zero.accuracy} to ${trained.accuracy}`);
  const answers = await after.predict([painted(COLOURS.blue, 60)]);
  t.equal(answers[0]?.className, 'blue');
  using twice = await trainClipClassifier({ ...options, threads: 2 });
  t.same(twice.training?.losses, after.training?.losses);
  using visionOnly = await trainClipClassifier({ ...options, steps: 2, adapters: { rank: 2, textTargets: [] } });
  t.same(Object.keys(visionOnly.factors().text), []);
  using textOnly = await trainClipClassifier({ ...options, steps: 2, adapters: { rank: 2, visionTargets: [] } });
  t.same([Object.keys(textOnly.factors().vision).length, Object.keys(textOnly.factors().text).length], [0, 2]);
  t.ok((textOnly.training?.losses[1] ?? NaN) !== textOnly.training?.losses[0]);
  using alone = await trainClipClassifier({ ...options, steps: 4, batchSize: 3 });
  using ignored = await trainClipClassifier({ ...options, steps: 4, synthetic: data(3, 7), realWeight: 1 });
  t.ok(worst(ignored.training?.losses ?? [], alone.training?.losses ?? [], { rtol: 1e-4 }) <= 1, 'with all weight on the real ones generated ones do not count');
  const checkpoint = join(root, 'run.safetensors');
  const stopped = trainClipClassifier({ ...options, checkpoint });
  for await (const event of stopped) if (event.type === 'step' && event.step === 7) break;
  using resumed = await trainClipClassifier({ ...options, checkpoint, resume: true });
  t.same(resumed.training?.losses, after.training?.losses, 'resumed');
  t.same(resumed.factors().vision, after.factors().vision);
});

t.test('recomputed sentences: the same bytes, and no memory for each', async (t) => {
  using clip = await loadClip(folder);
  const options = { clip, train: data(3), template: ['a photo of {class}', 'my {class}', 'no {class}'], steps: 4, batchSize: 6, shardSize: 2, lr: 2e-2, adapters: { rank: 2 } } satisfies TrainClipClassifierOptions;
  using kept = await trainClipClassifier({ ...options, recompute: false, threads: 1 });
  for (const threads of [1, 2]) {
    using again = await trainClipClassifier({ ...options, recompute: true, threads });
    t.same([again.training?.losses, again.factors()], [kept.training?.losses, kept.factors()], `${threads} threads`);
  }
  const script = `
    import { Dataset, loadClip, trainClipClassifier } from 'seedbed';
    const classes = Array.from({ length: 1500 }, (_, i) => \`thing \${i}\`);
    const entries = classes.map((_, label) => ({ key: \`\${label}\`, label, read: () => Promise.resolve({ data: new Uint8Array(16 * 16 * 3).fill(label), width: 16, height: 16, channels: 3 }) }));
    const before = process.resourceUsage().maxRSS;
    await trainClipClassifier({ clip: await loadClip('seedling'), train: new Dataset({ name: 'things', classes, entries }), steps: 1, batchSize: 2, shardSize: 8, threads: 1, recompute: process.argv[1] === 'true' });
    console.log((process.resourceUsage().maxRSS - before) / 1024);`;
  const megabytesOf = async (recompute: boolean): Promise<number> => Number((await runScript(script, { args: [String(recompute)] })).stdout);
  const [all, few] = [await megabytesOf(false), await megabytesOf(true)];
  t.ok(few < all / 2, `${few.toFixed(0)} MB, kept ${all.toFixed(0)} MB`);
});

t.test('bad input is refused', async (t) => {
  using clip = await loadClip(folder);
  const train = (options: Partial<TrainClipClassifierOptions>) => () => trainClipClassifier({ clip, train: data(2), steps: 2, ...options });
  const plain = join(root, 'plain');
  writeFormulaPipeline(plain, 'sd1');
  await refused(t, [
    ['no CLIP', train({ clip: {} as never }), 'ERR_INVALID_ARGUMENT', /a loaded CLIP/],
    ['an unknown option', train({ stpes: 1 } as never), 'ERR_INVALID_ARGUMENT', /did you mean 'steps'/],
    ['a template without the class', train({ template: 'a photo' }), 'ERR_INVALID_ARGUMENT', /\{class\}/],
    ['targets that name no layer', train({ adapters: { textTargets: ['x'] } }), 'ERR_INVALID_ARGUMENT', /'x'/],
    ['no targets', train({ adapters: { textTargets: [], visionTargets: [] } }), 'ERR_INVALID_ARGUMENT', /at least one target/],
    ['the test part', train({ train: data(2).as('test') }), 'ERR_DATA_LEAK', /test part/],
    ['a weight without generated pictures', train({ realWeight: 0.5 }), 'ERR_INVALID_ARGUMENT', /synthetic/],
    ['one class', () => clip.classifier({ classes: ['a'] }), 'ERR_INVALID_ARGUMENT', /at least 2/],
    ['nowhere', () => loadClip(join(root, 'nowhere')), 'ERR_FILE_NOT_FOUND', /nowhere/],
    ['a model without an image encoder', () => loadClip(plain), 'ERR_FILE_NOT_FOUND', /image_encoder/],
  ]);
  const gone = await loadClip(folder);
  gone.dispose();
  t.equal((await thrown(() => gone.encodeTexts(['a']))).code, 'ERR_DISPOSED');
  t.equal((await thrown(() => clip.encodeTexts([]))).code, 'ERR_INVALID_ARGUMENT');
  const other = writeFormulaModel(join(root, 'other'), stored.model);
  writeFileSync(join(other, 'config.json'), '{}');
  t.equal((await thrown(() => loadClip(other))).code, 'ERR_FILE_FORMAT');
});
