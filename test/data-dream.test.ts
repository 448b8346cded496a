import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import t from 'tap';
import { dataDream, Dataset, encodePng, loadClip, loadDiffusion, openDataset, preflight, readGenerationSettings, readImage, scaleImage, trainClassifier, trainClip, type Classifier, type DataDreamOptions, type DataDreamResult, type Image } from 'seedbed';
import type { ArmResult } from '#lib/experiment/few-shot.js';
import { squared } from '#lib/image.js';
import type { Gain } from '#lib/methods/data-dream/compare.js';
import { promptOf } from '#lib/methods/data-dream/options.js';
import { findLibtorch } from '#lib/setup/find.js';
import { readRecord, type GrowRecord } from '#lib/report/record.js';
import { seedbed } from './command.js';
import { writeFormulaPipeline } from './formula.js';
import { picture, refused, runScript, thrown, worst } from './support.js';

const root = t.testdir();
const model = writeFormulaPipeline(join(root, 'model'), 'sd1');
const CLASSES = ['F-16A/B', 'Äpfel.', '🍓'];

/** `count` pictures of each class, class after class; `salt` makes them others. */
function dataset(count: number, salt = 0, classes: readonly string[] = CLASSES): Dataset {
  const entries = classes.flatMap((_, label) =>
    Array.from({ length: count }, (_, i) => ({ key: `${salt}/${label}-${i}`, label, read: (): Promise<Image> => Promise.resolve(picture(36, 32, 3, 50 * salt + 7 * label + i)) })),
  );
  return new Dataset({ name: 'things', classes, entries });
}

const small = {
  model, data: dataset(3), test: dataset(2, 1), threads: 1, seed: 5,
  adapt: { rank: 2, steps: 2, size: 32 },
  generate: { perClass: 3, steps: 2, batchSize: 2, dtype: 'float32' },
  filter: { twins: false },
  compare: { init: 'random', model: 'vit_nano_patch4_32', steps: 3, batchSize: 4, seeds: 2 },
} satisfies Partial<DataDreamOptions>;

const place = (name: string): string => join(root, name);

/** Rows of a file of JSON lines. */
const rowsOf = (path: string): Record<string, unknown>[] => readFileSync(path, 'utf8').split('\n').filter((line) => line !== '').map((line) => JSON.parse(line) as Record<string, unknown>);

const clip = place('clip');
const tower = { width: 16, layers: 1, heads: 2 };
await trainClip(CLASSES.map((_, i) => picture(16, 16, 3, i)), CLASSES.map((name) => `a photo of a ${name}`), { out: clip, tokenizer: join(model, 'tokenizer'), steps: 2, batchSize: 3, text: tower, vision: { ...tower, patchSize: 8 }, projectionDim: 8, threads: 1 });

/** All files below a folder, with their bytes; without the report, which says when it was made. */
function filesIn(folder: string): Record<string, string> {
  const names = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile() && !/^(report|record)\./.test(entry.name)).map((entry) => join(entry.parentPath, entry.name));
  return Object.fromEntries(names.sort().map((name) => [name.slice(folder.length + 1), readFileSync(name).toString('base64')]));
}

/** What all classifiers of a run learnt and said. */
const answersOf = ({ gain }: DataDreamResult): unknown => gain?.study.arms.map(({ name, runs }) => [name, runs.map(({ seed, losses, predictions }) => [seed, losses, predictions])]);

t.test('bad input is refused', async (t) => {
  const wordless = writeFormulaPipeline(place('wordless'), 'sd1');
  rmSync(join(wordless, 'text_encoder'), { recursive: true });
  const dream = (options: Partial<DataDreamOptions>) => () => dataDream({ ...small, out: place('bad'), ...options });
  const one = new Dataset({ name: 'one', classes: ['a', 'b'], entries: [{ key: 'x', label: 0, read: () => Promise.resolve(picture(32, 32, 3)) }] });
  const tinyPictures = new Dataset({ name: 'tiny', classes: CLASSES, entries: CLASSES.map((_, label) => ({ key: `x${label}`, label, read: () => Promise.resolve(picture(20, 7, 3, label)) })) });
  await refused(t, [
    ['an unknown option', dream({ perClass: 3 } as never), 'ERR_INVALID_ARGUMENT', /Unknown option 'perClass'/],
    ['an unknown option inside', dream({ generate: { perclass: 3 } as never }), 'ERR_INVALID_ARGUMENT', /did you mean 'perClass'/],
    ['a template without the class', dream({ template: 'a photo' }), 'ERR_INVALID_ARGUMENT', /\{class\}/],
    ['a shard that is none', dream({ shard: { index: 3, count: 2 } }), 'ERR_INVALID_ARGUMENT', /shard from 1 to 2, received 3/],
    ['keeping none', dream({ filter: { keep: 0 } }), 'ERR_INVALID_ARGUMENT', /above 0/],
    ['asking a classifier that is not wanted', dream({ filter: { keep: 0.5 }, compare: false }), 'ERR_INVALID_ARGUMENT', /compare with filter\.keep/],
    ['a class without pictures', dream({ data: one }), 'ERR_SHOTS', /class 'b' in one/],
    ['more shots than there are', dream({ shots: 4 }), 'ERR_SHOTS', /at least 4 pictures/],
    ['the test part to learn from', dream({ data: dataset(2).as('test') }), 'ERR_DATA_LEAK', /test part/],
    ['the same pictures to measure on', dream({ test: dataset(3) }), 'ERR_DATA_LEAK', /both data and test/],
    ['a name of a class that there is not', dream({ names: { cat: 'dog' } }), 'ERR_INVALID_ARGUMENT', /names of classes \(F-16A\/B.*'cat'/],
    ['a class whose name makes no file', dream({ data: dataset(2, 0, ['a', 'b'.repeat(201), 'c']), test: undefined }), 'ERR_INVALID_ARGUMENT', /1 to 200 characters.*makes 201/],
    ['pictures too small', dream({ data: tinyPictures }), 'ERR_IMAGE', /at least 8 pixels a side, 'x0' has 7/],
    ['a CLIP that is not there', dream({ compare: { clip: place('no-clip') } }), 'ERR_FILE_NOT_FOUND', /no-clip/],
    ['a classifier that is not there', dream({ compare: { init: place('no-start') } }), 'ERR_FILE_NOT_FOUND', /no-start/],
    ['a batch of one', dream({ compare: { ...small.compare, batchSize: 1 } }), 'ERR_INVALID_ARGUMENT', /at least 2 for compare\.batchSize/],
    ['a name to ask for of a class that there is not', dream({ generate: { names: { cat: ['dog'] } } }), 'ERR_INVALID_ARGUMENT', /classes \(F-16A\/B.* for generate\.names.*'cat'/],
    ['no name to ask for', dream({ generate: { names: { '🍓': [] } } }), 'ERR_INVALID_ARGUMENT', /names/],
    ['one class', dream({ data: dataset(2, 0, ['a']), test: undefined }), 'ERR_DATASET', /at least 2 classes/],
    ['other classes to measure on', dream({ test: dataset(2, 1, ['x', 'y', 'z']) }), 'ERR_DATASET', /found 'x'/],
    ['a folder that is not there', dream({ data: place('nowhere') }), 'ERR_FILE_NOT_FOUND', /nowhere/],
    ['a model that is not there', dream({ model: place('no-model') }), 'ERR_FILE_NOT_FOUND', /no-model/],
    ['a model without text encoder', dream({ model: wordless }), 'ERR_FILE_NOT_FOUND', /text_encoder/],
  ]);
});

t.test('prompts', (t) => {
  const words = { template: 'a {domain}photo of a {class}', domain: '', names: {} };
  t.equal(promptOf({ ...words, domain: 'satellite' }, 'AnnualCrop', 0), 'a satellite photo of a AnnualCrop', "DataDream's");
  t.equal(promptOf(words, 'apple_pie', 3), 'a photo of a apple pie');
  t.equal(promptOf({ ...words, names: { apple_pie: 'cake' } }, 'apple_pie', 0), 'a photo of a cake');
  t.equal(promptOf(words, 'A$$ $& B', 0), 'a photo of a A$$ $& B', 'a name is no pattern');
  t.equal(promptOf(words, 'constructor', 0), 'a photo of a constructor');
  t.same([0, 1, 2].map((i) => promptOf({ ...words, template: ['{class}', 'my {class}'] }, 'cat', i)), ['cat', 'my cat', 'cat']);
  const things = { ...words, template: ['a {class}', 'my {class}'], names: { pet: ['cat', 'dog', 'hen'] } };
  t.same([0, 1, 2, 3, 4, 5].map((i) => promptOf(things, 'pet', i)), ['a cat', 'my dog', 'a hen', 'my cat', 'a dog', 'my hen'], 'every thing in every sentence, both in turn');
  t.end();
});

t.test('the pictures are looked at first', async (t) => {
  const again = (i: number, by: number): Image => ({ ...picture(36, 32, 3, i), data: picture(36, 32, 3, i).data.map((value) => Math.min(255, value + by)) });
  const entries = [picture(36, 32, 3, 0), picture(64, 64, 3, 9), again(0, 1), picture(20, 40, 1, 3), picture(36, 32, 3, 0)].map((image, i) => ({ key: `p${i}`, label: i < 4 ? 0 : 1, read: () => Promise.resolve(image) }));
  const found = await preflight(new Dataset({ name: 'x', classes: ['a', 'b'], entries, skipped: [{ key: 'notes.txt', reason: 'no picture' }] }));
  t.same(found.classes, [{ name: 'a', count: 4 }, { name: 'b', count: 1 }]);
  t.same(found.sides, { smallest: { key: 'p3', pixels: 20 }, largest: 64 });
  t.same(found.twins, [{ key: 'p2', of: 'p0', classes: ['a', 'a'] }, { key: 'p4', of: 'p0', classes: ['b', 'a'] }]);
  for (const text of [/1 of 2 classes have one picture.*'b'/, /largest class has 4 pictures, the smallest 1/, /1 pictures look like another of their class \('p2'\)/, /p4 = p0.*label is wrong/, /1 files were left out \('notes.txt'\)/])
    t.ok(found.warnings.some((warning) => text.test(warning)), String(text));
  t.same((await preflight(dataset(2))).warnings, []);
});

t.test('a few pictures become a dataset, a comparison and a report', async (t) => {
  const out = place('whole');
  const stages: string[] = [];
  const job = dataDream({ ...small, out });
  for await (const event of job) if (event.type === 'stage') stages.push(event.stage);
  const result = await job;
  t.same(stages, ['check', 'load', 'adapt', 'generate', 'filter', 'compare', 'report']);
  t.same(result.real.train.counts, [3, 3, 3]);
  t.same(result.classes?.map(({ name, generated, dropped }) => [name, generated, dropped]), CLASSES.map((name) => [name, 3, { twin: 0, unsure: 0, far: 0, spare: 0 }]));
  const made = await openDataset(join(out, 'images'));
  t.same([...made.classes].sort(), [...CLASSES].sort(), 'names survive');
  t.same(made.counts, [3, 3, 3]);
  const lines = rowsOf(join(out, 'images', 'metadata.jsonl'));
  t.match(lines[0], { file_name: 'F-16A%2FB/000000.png', label: 'F-16A/B', text: 'a photo of a F-16A/B', lora: /^[0-9a-f]{64}$/ });
  t.equal(new Set(lines.map(({ seed }) => seed)).size, 9, 'each picture has noise of its own');
  t.match(await readGenerationSettings(join(out, 'images', 'F-16A%2FB', '000000.png')), { prompt: 'a photo of a F-16A/B', steps: 2, guidanceScale: 2, seed: lines[0]?.['seed'], lora: lines[0]?.['lora'] });
  t.same(result.gain?.study.arms.map(({ name, runs }) => [name, runs.length]), [['real', 2], ['real, strong augmentation', 2], ['generated', 2], ['real + generated', 2]]);
  t.same(result.gain?.gains.map(({ arm, baseline }) => [arm, baseline]), [['real + generated', 'real'], ['real + generated', 'real, strong augmentation']]);
  const page = readFileSync(join(out, 'report.html'), 'utf8');
  t.match(page, /things: 9 pictures from 9/);
  t.match(page, /F-16A\/B/);

  await t.test('what is missing is made again, byte for byte', async (t) => {
    const before = filesIn(out);
    rmSync(join(out, 'images', 'F-16A%2FB', '000001.png'));
    rmSync(join(out, 'loras', `${encodeURIComponent('🍓')}.safetensors`));
    rmSync(join(out, 'images', 'metadata.jsonl'));
    const again = await dataDream({ ...small, out });
    t.same(filesIn(out), before);
    t.same(answersOf(again), answersOf(result));
  });
  await t.test('other settings are refused', async (t) => {
    const error = await thrown(() => dataDream({ ...small, out, generate: { ...small.generate, steps: 3 } }));
    t.match([error.code, error.message], ['ERR_INVALID_ARGUMENT', /Expected generate\.steps 2.*received 3/]);
    const other = await thrown(() => dataDream({ ...small, out, data: dataset(2) }));
    t.match(other.message, /Expected the pictures that the run in .* learnt from, received others/);
  });
  await t.test('shards together are the same', async (t) => {
    const parts = place('shards');
    const first = await dataDream({ ...small, out: parts, shard: { index: 2, count: 2 } });
    t.equal(first.classes, undefined, 'others are at work');
    t.same(readdirSync(join(parts, 'images')).length, 1);
    await dataDream({ ...small, out: parts, shard: { index: 1, count: 2 } });
    await dataDream({ ...small, out: parts });
    t.same(filesIn(parts), filesIn(out));
  });
  await t.test('also from machines of their own, put together', async (t) => {
    const [one, two, merged] = [place('machine-1'), place('machine-2'), place('merged')];
    await dataDream({ ...small, out: one, shard: { index: 1, count: 2 } });
    await dataDream({ ...small, out: two, shard: { index: 2, count: 2 } });
    for (const folder of [one, two]) cpSync(folder, merged, { recursive: true });
    const together = await dataDream({ ...small, out: merged });
    t.same(filesIn(merged), filesIn(out));
    t.same(answersOf(together), answersOf(result), 'and the same tables');
  });
});

t.test('one adapter for all classes; what was stopped goes on', async (t) => {
  const out = place('dataset');
  const options = { ...small, out, mode: 'dataset', compare: false, generate: { ...small.generate, seedPolicy: 'perClassRestart' } } as const;
  const job = dataDream(options);
  for await (const event of job) if (event.type === 'progress') break;
  t.ok(readdirSync(join(out, 'images'), { recursive: true }).length < 9);
  const result = await dataDream(options);
  t.same(readdirSync(join(out, 'loras')), ['all.safetensors']);
  t.same(rowsOf(join(out, 'images', 'metadata.jsonl')).map(({ seed }) => seed), [5, 6, 7, 5, 6, 7, 5, 6, 7], 'every class with the same noise');
  t.equal(result.notCompared, 'it was not asked for');
  const early = await thrown(() => dataDream({ ...options, out: place('dataset-shard'), shard: { index: 2, count: 2 } }));
  t.match([early.code, early.message], ['ERR_INVALID_ARGUMENT', /all\.safetensors.*trained by shard 1/]);
  using sd = await loadDiffusion(model, { dtype: 'float32', threads: 1 });
  sd.loras.add(join(out, 'loras', 'all.safetensors'), { name: 'own' });
  t.match((await thrown(() => dataDream({ ...options, out: place('adapted'), model: sd }))).message, /without active adapters, 'own'/);
  sd.loras.setScale('own', 0);
  const lent = await dataDream({ ...options, out: place('adapted'), model: sd });
  t.same(rowsOf(join(place('adapted'), 'images', 'metadata.jsonl')), rowsOf(join(out, 'images', 'metadata.jsonl')));
  t.same(sd.loras.list().map(({ name, scale, merged }) => [name, scale, merged]), [['own', 0, false]], 'a model is given back as it was');
  t.equal(lent.parts.some(({ name }) => name === 'load'), false);
});

t.test('an adapter for each picture, two of a class together', async (t) => {
  const out = place('pictures');
  const options = { ...small, out, mode: 'picture', compare: false, filter: false, adapt: { steps: 4, size: 32, lr: 0.05, warmupSteps: 1 }, generate: { ...small.generate, perClass: 7 } } as const;
  const job = dataDream(options);
  for await (const event of job) if (event.type === 'progress' && event.picture > 3) break;
  const whole = await dataDream(options);
  t.match(whole.settings.adapt, { rank: 2, batchSize: 1, epochs: 600, textEncoder: false, crop: 'center' }, "LoFT's defaults");
  t.equal(readdirSync(join(out, 'loras')).length, 9);
  const rows = rowsOf(join(out, 'images', 'metadata.jsonl'));
  const used = rows.slice(0, 7).map(({ lora }) => String(lora));
  t.equal(new Set(used).size, 3, 'three pairs of three pictures');
  for (const pair of used) t.match(pair, /^[0-9a-f]{64}\+[0-9a-f]{64}$/);
  t.ok([...new Set(used)].every((pair) => used.filter((other) => other === pair).length >= 2), 'every pair as often');
  const again = await dataDream({ ...options, out: place('pictures-again') });
  t.same(filesIn(place('pictures-again')), filesIn(out), 'what was stopped and went on is the same');
  t.same(again.classes?.map(({ generated }) => generated), [7, 7, 7]);

  using sd = await loadDiffusion(model, { dtype: 'float32', threads: 1 });
  const hashOf = new Map(readdirSync(join(out, 'loras')).map((name) => [createHash('sha256').update(readFileSync(join(out, 'loras', name))).digest('hex'), join(out, 'loras', name)]));
  const [one = '', two = ''] = (used[0] ?? '').split('+');
  const made = await readImage(join(out, 'images', 'F-16A%2FB', '000000.png'));
  const apart = async (scales: Record<string, number>): Promise<number> => {
    for (const [hash, scale] of Object.entries(scales)) sd.loras.add(hashOf.get(hash) ?? '', { name: hash, scale });
    const { images } = await sd.generate({ prompt: ['a photo of a F-16A/B', 'a photo of a F-16A/B'], seed: Number(rows[0]?.['seed']), steps: 2, guidanceScale: 2, batchSize: 2, threads: 1 });
    for (const hash of Object.keys(scales)) sd.loras.remove(hash);
    return made.data.reduce((most, value, i) => Math.max(most, Math.abs(value - (images[0]?.data[i] ?? 0))), 0);
  };
  t.ok((await apart({ [one]: 0.5, [two]: 0.5 })) <= 1, 'half of both adapters beside the weights gives the same picture');
  for (const [what, scales] of Object.entries({ none: {}, 'one alone': { [one]: 1 }, 'both whole': { [one]: 1, [two]: 1 } })) t.ok((await apart(scales)) > 3, `${what} gives another`);

  const alone = await dataDream({ ...options, data: dataset(1), out: place('pictures-alone'), generate: { ...small.generate, perClass: 2 } });
  t.match(rowsOf(join(place('pictures-alone'), 'images', 'metadata.jsonl'))[0], { lora: /^[0-9a-f]{64}$/ }, 'a single picture has no partner');
  t.equal(alone.classes?.length, 3);
});

t.test("pictures' own captions, and a bank of sentences to ask with", async (t) => {
  const plain = dataset(2);
  const entries = (await plain.load()).map(({ key, image, label }, i) => ({ key, label, read: () => Promise.resolve(image), caption: () => Promise.resolve(i % 2 === 0 ? `picture ${i}, red` : undefined) }));
  const data = new Dataset({ name: 'told', classes: CLASSES, entries });
  const warnings: string[] = [];
  const asked = async (name: string, more: Partial<DataDreamOptions>): Promise<unknown[]> => {
    const { preflight: found } = await dataDream({ ...small, data, compare: false, out: place(name), ...more });
    warnings.push(found.warnings.join());
    return rowsOf(join(place(name), 'images', 'metadata.jsonl')).slice(0, 3).map(({ text }) => text);
  };
  t.same(await asked('captions', {}), ['picture 0, red', 'a photo of a F-16A/B', 'picture 0, red'], 'in turn, and the sentence where there is none');
  t.match(warnings[0], /3 of 6 pictures have captions.*'picture 0, red'/);
  t.same(await asked('captions-off', { captions: false }), Array(3).fill('a photo of a F-16A/B'));
  t.notMatch(warnings[1], /captions/);
  const lora = (name: string): string => readFileSync(join(place(name), 'loras', 'F-16A%2FB.safetensors')).toString('base64');
  t.ok(lora('captions') !== lora('captions-off'), 'they are learnt with');
  t.same(await asked('bank', { generate: { ...small.generate, template: ['{class} by the sea', '{class} in snow'] } }), ['F-16A/B by the sea', 'F-16A/B in snow', 'F-16A/B by the sea']);
  t.ok(lora('bank') === lora('captions'), 'a bank changes nothing that is learnt');
  t.same(await asked('things', { generate: { ...small.generate, names: { 'F-16A/B': ['jet', 'plane'] } } }), ['a photo of a jet', 'a photo of a plane', 'a photo of a jet'], 'things are asked for in place of captions');
  t.same(rowsOf(join(place('things'), 'images', 'metadata.jsonl'))[3]?.['text'], 'picture 2, red', 'where a class has none, by captions');
  t.ok(lora('things') === lora('captions'));
});

t.test('how many are enough; tars', async (t) => {
  const out = place('sweep');
  const result = await dataDream({ ...small, out, format: 'webdataset', compare: { ...small.compare, seeds: 1, sweep: [2, 1, 99] } });
  const alone = (await dataDream({ ...small, out, format: 'webdataset', compare: { ...small.compare, seeds: 1, sweep: [2], rivals: false } })).gain as Gain;
  t.same(alone.study.arms.map(({ name }) => name), ['real + 2 generated', 'real + generated'], 'without rivals');
  t.same([alone.gains, alone.curve.map(({ perClass }) => perClass)], [[], [2, small.generate.perClass]]);
  t.same(alone.study.arms.at(-1)?.runs.map(({ accuracy }) => accuracy), result.gain?.study.arms.at(-1)?.runs.map(({ accuracy }) => accuracy), 'the same classifiers');
  t.same(result.gain?.study.arms.map(({ name }) => name), ['real', 'real, strong augmentation', 'generated', 'real + 1 generated', 'real + 2 generated', 'real + generated']);
  t.same(result.gain?.curve, [{ perClass: 0, arm: 'real' }, { perClass: 1, arm: 'real + 1 generated' }, { perClass: 2, arm: 'real + 2 generated' }, { perClass: 3, arm: 'real + generated' }]);
  t.same(result.gain?.gains.map(({ baseline }) => baseline), ['real', 'real, strong augmentation']);
  t.match(readFileSync(join(out, 'report.html'), 'utf8'), /How many generated pictures are enough/);
  const shards = await openDataset(join(out, 'shards'));
  t.same([[...shards.classes], shards.counts], [CLASSES, [3, 3, 3]]);
  const [first, same] = [await shards.get(0), await (result.synthetic as Dataset).get(0)];
  t.same(first.image, same.image);
});

t.test('pictures are drawn in the numbers that the run began with', async (t) => {
  const out = place('numbers');
  const draw = async (generate: Partial<DataDreamOptions['generate']>, more: Partial<DataDreamOptions> = {}): Promise<string[]> => {
    const stages: string[] = [];
    const job = dataDream({ ...small, compare: false, out, ...more, generate: { perClass: 3, steps: 2, batchSize: 2, ...generate } });
    for await (const event of job) if (event.type === 'stage') stages.push(event.stage);
    await job;
    return stages;
  };
  const auto = await loadDiffusion(model, { threads: 1 });
  const [fast, other] = auto.info.dtype === 'float32' ? (['float32', 'bfloat16'] as const) : (['bfloat16', 'float32'] as const);
  auto.dispose();
  const both = ['check', 'load', 'adapt', 'load', 'generate', 'filter', 'report'], one = both.filter((_, i) => i !== 3);
  t.same(await draw({ dtype: other }), other === 'float32' ? one : both, 'adapters are trained in float32');
  const before = filesIn(out);
  rmSync(join(out, 'images', 'F-16A%2FB', '000001.png'));
  await draw({});
  t.same(filesIn(out), before, 'auto goes on as it began');
  t.same(await draw({}, { out: place('numbers-auto') }), fast === 'float32' ? one : both);
  const files = filesIn(place('numbers-auto'));
  t.ok(files['loras/F-16A%2FB.safetensors'] === before['loras/F-16A%2FB.safetensors'] && files['images/F-16A%2FB/000001.png'] !== before['images/F-16A%2FB/000001.png'], 'other pictures, the same adapters');
  t.match(await thrown(() => draw({ dtype: fast })), { code: 'ERR_INVALID_ARGUMENT', message: new RegExp(`generate\\.dtype "${other}".*received "${fast}"`) });
  await draw({}, { out: place('numbers-shard'), shard: { index: 1, count: 2 } });
  t.match(JSON.parse(readFileSync(place('numbers-shard/grow.json'), 'utf8')), { adapt: { dtype: 'float32' }, generate: { dtype: 'float32' } }, 'shards are drawn alike on every machine');
  await t.test('numbers that there are not here, before anything is learnt', { skip: findLibtorch().cuda && 'this libtorch has CUDA' }, async (t) => {
    t.match(await thrown(() => draw({ dtype: 'float16' }, { out: place('numbers-half') })), { code: 'ERR_INVALID_ARGUMENT', message: /float16/ });
    t.notOk(existsSync(place('numbers-half/grow.json')));
  });
  using sd = await loadDiffusion(model, { dtype: 'float32', threads: 1 });
  t.match(await thrown(() => draw({ dtype: 'bfloat16' }, { out: place('lent'), model: sd })), { code: 'ERR_INVALID_ARGUMENT', message: /generate\.dtype float32.*received bfloat16/ });
});

t.test('views of the pictures where generated ones are among them', async (t) => {
  const out = place('views');
  const losses = async (compare: Partial<DataDreamOptions['compare']>): Promise<Record<string, number[]>> => {
    const { gain } = await dataDream({ ...small, out, compare: { ...small.compare, seeds: 1, ...compare } });
    return Object.fromEntries(gain?.study.arms.map(({ name, runs }) => [name, runs[0]?.losses ?? []]) ?? []);
  };
  const [plain, bold] = [await losses({}), await losses({ augment: { scale: [0.25, 1], flip: 0.5, randAugment: true, randomErasing: true } })];
  t.same(Object.keys(plain).filter((name) => String(plain[name]) !== String(bold[name])), ['generated', 'real + generated']);
  t.same(Object.keys(bold).filter((name) => !(name in plain)), ['real, the same views']);
});

t.test('views and weight chosen on the real pictures; with weight 1 generated ones are left out', async (t) => {
  const out = place('chosen');
  const generate = { ...small.generate, init: 'real' } as const;
  const { gain } = await dataDream({ ...small, generate, out, compare: { ...small.compare, seeds: 1, augment: 'choose', realWeight: 'choose' } });
  t.same(gain?.choice?.trials.map(({ what, value }) => `${what} ${value}`), ['augment plain', 'augment varied', 'realWeight 1', 'realWeight 0.8', 'realWeight 0.5']);
  const rows = rowsOf(join(out, 'images', 'metadata.jsonl'));
  t.ok(rows.every(({ from }) => Array.isArray(from) && from.length === 1), 'metadata says which real picture each began with');
  const { ways } = gain?.choice ?? {};
  const given = await dataDream({ ...small, generate, out, compare: { ...small.compare, seeds: 1, ...ways } });
  const lossesOf = (arms: ArmResult[] = []) => arms.map(({ name, runs }) => [name, runs[0]?.losses]);
  t.same(lossesOf(given.gain?.study.arms), lossesOf(gain?.study.arms), 'what was chosen is what is compared');
  t.equal(given.gain?.choice, undefined);
  const { study } = (await dataDream({ ...small, generate, out, compare: { ...small.compare, seeds: 2, realWeight: 1, sweep: [1] } })).gain as Gain;
  t.same(study.arms.map(({ name }) => name), ['real', 'real, strong augmentation', 'generated', 'real + generated'], 'no curve of nothing');
  t.equal(study.arms[3]?.runs.length, 2);
  for (const [i, run] of study.arms[3]?.runs.entries() ?? []) t.equal(run, study.arms[0]?.runs[i], 'trained once');
  const asked = await dataDream({ ...small, out: place('chosen-clip'), compare: { clip, steps: 2, batchSize: 4, seeds: 1, augment: 'choose', realWeight: 'choose' } });
  t.equal(asked.gain?.choice?.trials.length, 5);
  const pairs = await dataDream({ ...small, out: place('chosen-pairs'), data: dataset(2), mode: 'picture', adapt: { steps: 1, size: 32 }, compare: { ...small.compare, seeds: 1, realWeight: 'choose' } });
  t.same([pairs.gain?.choice?.trials, pairs.gain?.choice?.ways.realWeight], [[], 0.5], 'a pair of two has seen both');
});

t.test('a schedule of guidance: each value for a batch in turn, with the bytes it gives alone', async (t) => {
  const run = async (name: string, guidanceScale: number | number[]): Promise<Buffer[]> => {
    const folder = place(name);
    await dataDream({ ...small, out: folder, compare: false, filter: false, generate: { ...small.generate, perClass: 5, batchSize: 2, guidanceScale } });
    return Array.from({ length: 5 }, (_, i) => readFileSync(join(folder, 'images', 'F-16A%2FB', `00000${i}.png`)));
  };
  const [low, high, both] = [await run('guidance-low', 1), await run('guidance-high', [3]), await run('guidance-both', [1, 3])];
  t.notOk(low[0]?.equals(high[0] as Buffer));
  for (const [i, bytes] of both.entries()) t.ok(bytes.equals(([2, 3].includes(i) ? high : low)[i] as Buffer), `picture ${i}`);
  t.match(await thrown(() => dataDream({ ...small, out: place('nothing'), generate: { ...small.generate, guidanceScale: [] } })), { code: 'ERR_INVALID_ARGUMENT', message: /guidanceScale/ });
});

t.test('pictures that begin with real ones', async (t) => {
  const options = { ...small, compare: false, adapt: { ...small.adapt, lr: 0 }, generate: { ...small.generate, perClass: 4, steps: 4, init: 'real' } } as const;
  const strong = await dataDream({ ...options, out: place('real-strong'), generate: { ...options.generate, strength: 1 } });
  await dataDream({ ...options, out: place('real-weak'), generate: { ...options.generate, strength: 0.25 } });
  const [first = ''] = strong.classes?.[0]?.shown.kept ?? [];
  const settings = await readGenerationSettings(first);
  t.match(settings, { strength: 1, imageSha256: String });
  const real = (await dataset(3).get(0)).image;
  const distance = async (run: string, i: number): Promise<number> => {
    const made = await scaleImage(await readImage(join(place(run), 'images', 'F-16A%2FB', `00000${i}.png`)), 8);
    const wanted = await scaleImage(squared(i === 3 ? real : (await dataset(3).get(i)).image), 8);
    return made.data.reduce((sum, value, k) => sum + Math.abs(value - (wanted.data[k] ?? 0)), 0);
  };
  t.ok((await distance('real-weak', 0)) < (await distance('real-strong', 0)), 'less strength is nearer to the real picture');
  const used = rowsOf(join(place('real-weak'), 'images', 'metadata.jsonl')).length;
  t.equal(used, 12);
  t.match(await thrown(() => dataDream({ ...options, out: place('real-weak'), generate: { ...options.generate, strength: 0.5 } })), { message: /generate\.strength/ });
  const large = new Dataset({ name: 'large', classes: CLASSES, entries: CLASSES.map((_, label) => ({ key: `large-${label}`, label, read: () => Promise.resolve(picture(150, 140, 3, label)) })) });
  const sized = await dataDream({ ...options, data: large, out: place('real-large'), generate: { ...options.generate, perClass: 1, steps: 2 } });
  const { width, height } = await readImage(sized.classes?.[0]?.shown.kept[0] ?? '');
  await using sd = await loadDiffusion(model, { threads: 1 });
  t.same([width, height], [sd.info.imageSize, sd.info.imageSize], "pictures of the model's size");
});

t.test("the paper's classifier: a CLIP with LoRA in both towers", async (t) => {
  const result = await dataDream({ ...small, out: place('with-clip'), compare: { clip, steps: 2, batchSize: 4, seeds: 2 } });
  t.same(result.gain?.study.arms.map(({ name, runs }) => [name, runs[0]?.losses.length]), [['no picture (zero-shot)', 0], ['real', 2], ['real, strong augmentation', 2], ['generated', 2], ['real + generated', 2]]);
  t.equal(result.gain?.study.arms[0]?.runs[0]?.accuracy, result.gain?.study.arms[0]?.runs[1]?.accuracy, 'zero-shot has no seed');
  t.same(result.gain?.gains.map(({ baseline }) => baseline), ['no picture (zero-shot)', 'real', 'real, strong augmentation']);
  const { confusions } = (await readRecord(join(place('with-clip'), 'record.json'))) as GrowRecord;
  const counted = CLASSES.map(() => CLASSES.map(() => 0));
  const labels = result.real.test?.labels ?? [];
  for (const { predictions } of result.gain?.study.arms[1]?.runs ?? []) for (const [i, answer] of predictions.entries()) counted[labels[i] ?? 0]?.splice(answer, 1, (counted[labels[i] ?? 0]?.[answer] ?? 0) + 1);
  t.same(confusions?.real, counted, 'the answers of those that learnt from real pictures, not of zero-shot');
});

t.test('twins are left out, and what the classifier is unsure of', async (t) => {
  const out = place('filtered');
  const result = await dataDream({ ...small, out, compare: { ...small.compare, seeds: 1 }, filter: { twins: false, keep: 0.5 } });
  t.same(result.classes?.map(({ dropped }) => dropped), CLASSES.map(() => ({ twin: 0, unsure: 1, far: 0, spare: 0 })));
  const kept = rowsOf(join(out, 'images', 'metadata.jsonl'));
  t.same(kept.length, 6);
  const dropped = rowsOf(join(out, 'dropped.jsonl'));
  t.equal(dropped.length, 3);
  t.match(dropped[0], { dropped: /judge sees \d+ % of its class/ });
  for (const { label, agreement } of dropped) t.ok(kept.every((one) => one['label'] !== label || Number(one['agreement']) >= Number(agreement)), 'those that agree least go');
  // Pictures that the model will make again come in as real ones.
  const copies = CLASSES.flatMap((name, label) => [0, 1].map((i) => ({ key: `c${label}-${i}`, label, read: async () => readImage(join(out, 'images', encodeURIComponent(name).replace('.', '%2E'), `00000${i}.png`)) })));
  const data = new Dataset({ name: 'copies', classes: CLASSES, entries: copies });
  const same = { ...small, data, compare: false, adapt: { ...small.adapt, lr: 0 }, generate: { ...small.generate, perClass: 2 } } as const;
  const before = await dataDream({ ...same, data: dataset(3), out: place('untrained'), filter: false });
  t.same(before.classes?.map(({ generated }) => generated), [2, 2, 2]);
  const made = CLASSES.flatMap((name, label) => [0, 1].map((i) => ({ key: `m${label}-${i}`, label, read: async () => readImage(join(place('untrained'), 'images', encodeURIComponent(name).replace('.', '%2E'), `00000${i}.png`)) })));
  const twins = await dataDream({ ...same, data: new Dataset({ name: 'made', classes: CLASSES, entries: made }), out: place('twins'), filter: { twins: true } });
  t.same(twins.classes?.map(({ dropped: left }) => left.twin), [1, 1, 1], 'all look like real ones; the first stays');
  t.match(rowsOf(join(place('twins'), 'dropped.jsonl'))[0], { dropped: /looks like m0-1/ });
});

t.test('a bar set by real pictures, each judged by a classifier that did not learn from it', async (t) => {
  const run = async (name: string, agreementPercentile: number) => {
    const { classes } = await dataDream({ ...small, out: place(name), compare: { ...small.compare, seeds: 1 }, filter: { twins: false, agreementPercentile } });
    return { classes, dropped: rowsOf(join(place(name), 'dropped.jsonl')), kept: rowsOf(join(place(name), 'images', 'metadata.jsonl')) };
  };
  const [strict, lax] = [await run('crossed-strict', 1), await run('crossed-lax', 1e-9)];
  t.ok(strict.dropped.length > lax.dropped.length, 'surer than of all real ones is asked more than surer than of the worst');
  t.same([...strict.dropped, ...strict.kept].map(({ agreement }) => agreement).sort(), [...lax.dropped, ...lax.kept].map(({ agreement }) => agreement).sort(), 'the same judges');
  const least = Math.max(...strict.dropped.map(({ agreement }) => Number(agreement)));
  for (const { label, agreement } of strict.kept) t.ok(Number(agreement) >= least || strict.kept.filter((one) => one['label'] === label).length === 1, 'one bar for all classes; the first of a class stays');
  const single = { ...small, data: dataset(1), out: place('crossed-single'), filter: { agreementPercentile: 0.1 } };
  t.match(await thrown(() => dataDream(single)), { code: 'ERR_SHOTS', message: /at least 2 pictures of class .* found 1/ });
});

t.test('what a dual encoder says: sure of the class, near the real pictures, different from one another', async (t) => {
  const out = place('seen');
  const options = { ...small, out, compare: false, generate: { ...small.generate, perClass: 4 } } as const;
  const run = async (filter: Exclude<DataDreamOptions['filter'], false | undefined>) => {
    const { classes } = await dataDream({ ...options, filter: { twins: false, clip, ...filter } });
    return { classes, kept: rowsOf(join(out, 'images', 'metadata.jsonl')), dropped: rowsOf(join(out, 'dropped.jsonl')) };
  };
  using encoder = await loadClip(clip);
  const seen = async (images: readonly Image[]): Promise<number[][]> => {
    const { data, shape } = await encoder.encodeImages(images, { threads: 1 });
    return images.map((_, i) => [...data.subarray(i * (shape[1] ?? 0), (i + 1) * (shape[1] ?? 0))]);
  };
  const cosine = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, value, i) => sum + value * (b[i] ?? 0), 0);
  const fileOf = (row: Record<string, unknown>): string => join(out, 'images', String(row['file_name']));

  const near = await run({ near: 0.5 });
  t.same(near.classes?.map(({ dropped }) => dropped), CLASSES.map(() => ({ twin: 0, unsure: 0, far: 2, spare: 0 })));
  const shots = await seen((await dataset(3).load()).slice(0, 3).map(({ image }) => image));
  for (const row of [...near.kept, ...near.dropped].filter(({ label }) => label === CLASSES[0])) {
    const [features = []] = await seen([await readImage(fileOf(row))]);
    t.ok(Math.abs(Number(row['distance']) - (1 - Math.max(...shots.map((shot) => cosine(shot, features))))) < 2e-4, 'the distance is that to the nearest real picture');
  }
  for (const { label, distance, dropped } of near.dropped) {
    t.match(dropped, /far from the real pictures/);
    t.ok(near.kept.every((one) => one['label'] !== label || Number(one['distance']) <= Number(distance)), 'the farthest go');
  }

  const { kept, classes } = await run({ diverse: 2 });
  t.same(classes?.map(({ dropped }) => dropped.spare), [2, 2, 2]);
  const mine = rowsOf(join(out, 'dropped.jsonl')).concat(kept).filter(({ label }) => label === CLASSES[0]);
  const first = mine.reduce((a, b) => (Number(a['distance']) <= Number(b['distance']) ? a : b));
  const features = await seen(await Promise.all(mine.map((row) => readImage(fileOf(row)))));
  const to = features.map((one) => cosine(one, features[mine.indexOf(first)] ?? []));
  const farthest = mine[to.indexOf(Math.min(...to))];
  t.same(kept.filter(({ label }) => label === CLASSES[0]).map(({ file_name: name }) => name).sort(), [first, farthest].map((row) => row?.['file_name']).sort(), 'the nearest to a real one, and the one farthest from it');

  const sure = await run({ keep: 0.5, judge: 'clip' });
  t.same(sure.classes?.map(({ dropped }) => dropped.unsure), [2, 2, 2], 'without a classifier of the real pictures');
  using judge = encoder.classifier({ classes: CLASSES });
  const [answer] = await judge.predict([await readImage(fileOf(sure.kept[0] ?? {}))], { threads: 1 });
  t.ok(Math.abs((answer?.probabilities[0] ?? 0) - Number(sure.kept[0]?.['agreement'])) < 2e-4);
  // Bars set by the real pictures: half of them are as near to the nearest other of their class, and half are named as surely.
  const members = await Promise.all(CLASSES.map((name) => dataset(3).ofClass(name).load()));
  const middle = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[(values.length - 1) / 2] ?? NaN; // of nine
  const own: number[] = [];
  for (const samples of members) {
    const views = await seen(samples.map(({ image }) => image));
    for (const view of views) own.push(Math.min(...views.filter((other) => other !== view).map((other) => 1 - cosine(view, other))));
  }
  const reach = await run({ distancePercentile: 0.5 });
  for (const row of reach.kept) t.ok(Number(row['distance']) <= middle(own) + 2e-4 || reach.kept.filter(({ label }) => label === row['label']).length === 1);
  for (const row of reach.dropped) t.ok(Number(row['distance']) > middle(own) - 2e-4, 'farther than half of the real ones from the nearest other');
  const named = await judge.predict(members.flat().map(({ image }) => image), { threads: 1 });
  const bar = middle(named.map(({ probabilities }, i) => probabilities[CLASSES.indexOf(members.flat()[i]?.className ?? '')] ?? NaN));
  const surer = await run({ agreementPercentile: 0.5, judge: 'clip' });
  for (const row of surer.dropped) t.ok(Number(row['agreement']) < bar + 2e-4, 'less sure than of half of the real ones');
  for (const row of surer.kept) t.ok(Number(row['agreement']) > bar - 2e-4 || surer.kept.filter(({ label }) => label === row['label']).length === 1);

  t.match((await thrown(() => run({ near: 0.5, clip: place('no-clip') }))).code, 'ERR_FILE_NOT_FOUND');
  const page = readFileSync(join(out, 'report.html'), 'utf8');
  t.match(page, /the judge is least sure of their class/);
});

t.test('without test pictures some are held out, of classes that have enough', async (t) => {
  const folder = place('folder');
  for (const [label, name] of ['a', 'b'].entries()) {
    mkdirSync(join(folder, name), { recursive: true });
    for (let i = 0; i < 4; i++) writeFileSync(join(folder, name, `${i}.png`), await encodePng(picture(36, 32, 3, 7 * label + i)));
  }
  writeFileSync(join(folder, 'a', 'notes.txt'), 'x');
  const result = await dataDream({ ...small, test: undefined, data: folder, out: place('held'), compare: { ...small.compare, seeds: 1 }, generate: { ...small.generate, perClass: 1 } });
  t.same(result.real.train.counts, [3, 3]);
  t.equal(result.gain?.study.testPictures, 2);
  t.match(result.preflight.warnings.join(), /notes\.txt/);
  rmSync(join(folder, 'b', '3.png'));
  const few = await dataDream({ ...small, test: undefined, data: folder, out: place('few'), generate: { ...small.generate, perClass: 1 } });
  t.equal(few.gain, undefined);
  t.match(few.notCompared, /too few pictures.*'b', which has 3/);
  t.same(few.real.train.counts, [4, 3]);
  const doubled = dataset(2, 1);
  const close = new Dataset({ name: 'close', classes: CLASSES, entries: [...CLASSES.keys()].flatMap((label) => [{ key: `near${label}`, label, read: async () => { const image = picture(36, 32, 3, 7 * label); return { ...image, data: image.data.map((value) => Math.min(255, value + 1)) }; } }, { key: `far${label}`, label, read: async () => (await doubled.get(2 * label)).image }]) });
  const cleaned = await dataDream({ ...small, test: close, out: place('close'), compare: { ...small.compare, seeds: 1 }, generate: { ...small.generate, perClass: 1 } });
  t.same(cleaned.real.test?.keys, ['far0', 'far1', 'far2'], 'what looks like a picture that is learnt from is not asked about');
  t.match(cleaned.preflight.warnings.join(), /3 of 6 pictures to measure on were left out/);
});

t.test('pictures as people have them', async (t) => {
  const folder = place('wild');
  const pixels = (width: number, height: number) => sharp(Buffer.from(picture(width, height, 3, width).data), { raw: { width, height, channels: 3 } });
  const frames = Buffer.concat([1, 2, 3].map((i) => Buffer.from(picture(32, 32, 3, i).data)));
  const files: Record<string, Promise<Buffer> | Buffer> = {
    'moving.gif': sharp(frames, { raw: { width: 32, height: 96, channels: 3, pageHeight: 32 } as never }).gif().toBuffer(),
    'print.jpg': pixels(40, 32).toColourspace('cmyk').jpeg().toBuffer(),
    'turned.jpg': pixels(48, 32).withMetadata({ orientation: 6 }).jpeg().toBuffer(),
    'clear.webp': pixels(33, 40).ensureAlpha(0.4).webp().toBuffer(),
    'deep.png': pixels(32, 35).toColourspace('rgb16').png().toBuffer(),
    'gray.PNG': pixels(36, 36).toColourspace('b-w').png().toBuffer(),
    'panorama.png': pixels(20_000, 400).png({ compressionLevel: 1 }).toBuffer(),
    'red.jpg': sharp({ create: { width: 32, height: 32, channels: 3, background: { r: 200, g: 30, b: 40 } } }).toColourspace('cmyk').jpeg().toBuffer(),
    'broken.jpg': Buffer.from('no picture'),
    'notes.md': Buffer.from('x'),
  };
  for (const name of ['one', 'two']) {
    mkdirSync(join(folder, name), { recursive: true });
    for (const [file, content] of Object.entries(files)) if (name === 'one' || /^(gray|deep)/.test(file)) writeFileSync(join(folder, name, file), await content);
  }
  const { real, preflight: found } = await dataDream({ ...small, data: folder, test: undefined, compare: false, out: place('wild-grown'), generate: { ...small.generate, perClass: 1 } });
  t.same(real.train.keys.filter((key) => key.startsWith('one/')).sort(), ['clear.webp', 'deep.png', 'gray.PNG', 'moving.gif', 'panorama.png', 'print.jpg', 'red.jpg', 'turned.jpg'].map((name) => `one/${name}`));
  t.match(found.warnings.join(), /2 files were left out.*broken\.jpg/);
  const turned = (await real.train.load()).find(({ key }) => key === 'one/turned.jpg')?.image;
  t.same([turned?.width, turned?.height], [32, 48], 'as a viewer shows it');
  const red = (await readImage(join(folder, 'one', 'red.jpg'))).data;
  t.ok((red[0] ?? 0) > 150 && Math.max(red[1] ?? 255, red[2] ?? 255) < 80, `inks are red, not their opposite: ${[...red.slice(0, 3)].join()}`);
});

t.test('ten thousand classes with one picture each, of which this shard has one: pictures are not kept', async (t) => {
  const script = `
    import { dataDream, Dataset } from 'seedbed';
    const count = 10_000, side = 256;
    const classes = Array.from({ length: count }, (_, i) => \`class \${i}\`);
    const picture = (i) => ({ data: new Uint8Array(Buffer.alloc(side * side * 3, \`\${i} of many\`)), width: side, height: side, channels: 3 });
    const data = new Dataset({ name: 'many', classes, entries: classes.map((_, label) => ({ key: \`\${label}\`, label, read: () => Promise.resolve(picture(label)) })) });
    const [model, out] = process.argv.slice(1);
    const { real } = await dataDream({ model, data, out, compare: false, adapt: { steps: 1, rank: 1, size: 32 }, generate: { perClass: 1, steps: 1 }, shard: { index: 1, count }, threads: 1 });
    console.log(JSON.stringify({ pictures: real.train.length, peak: process.resourceUsage().maxRSS / 1024 }));`;
  const { code, stdout, stderr } = await runScript(script, { args: [model, place('many-classes')], timeout: 120_000 });
  t.equal(code, 0, stderr);
  const { pictures, peak } = JSON.parse(stdout) as { pictures: number; peak: number };
  t.equal(pictures, 10_000);
  t.ok(peak < 1000, `${peak.toFixed(0)} MB; the pictures have 1966`);
});

t.test('seedbed grow', async (t) => {
  const folder = place('command');
  for (const { key, image, className } of await dataset(4, 2, ['a', 'b']).load()) {
    mkdirSync(join(folder, className), { recursive: true });
    writeFileSync(join(folder, className, `${key.replaceAll('/', '-')}.png`), await encodePng(image));
  }
  writeFileSync(place('names.json'), '{"b":"bee"}');
  writeFileSync(place('things.json'), '{"a":["ant","ape"]}');
  const grow = ['grow', folder, '--model', model, '--threads', '1', '--rank', '1', '--adapt-steps', '1', '--per-class', '2', '--steps', '1'];
  const ran = await seedbed([...grow, '--out', place('command-out'), '--mode', 'picture', '--no-captions', '--ask-with', 'my {class}', '--names', place('names.json'), '--ask-for', place('things.json'), '--dtype', 'float32', '--init', 'random', '--compare-steps', '1', '--seeds', '1', '--json']);
  t.equal(ran.code, 0, ran.stderr);
  t.match(JSON.parse(readFileSync(place('command-out/grow.json'), 'utf8')), { mode: 'picture', captions: false, adapt: { rank: 1, steps: 1, lr: 1e-3, textEncoder: false, crop: 'center' }, generate: { perClass: 2, template: ['my {class}'], dtype: 'float32' } });
  t.same(rowsOf(place('command-out/images/metadata.jsonl')).map(({ text }) => text), ['my ant', 'my ape', 'my bee', 'my bee']);
  t.equal(readdirSync(place('command-out/loras')).length, 6, 'one of each class is held out');
  t.doesNotThrow(() => JSON.parse(ran.stdout) as unknown);
  const train = ['train', folder, '--out', place('command-classifier'), '--validation', '0', '--synthetic', place('command-out/images'), '--steps', '2', '--batch-size', '4', '--threads', '1'];
  t.match((await seedbed([...train, '--dry-run'])).stdout, /^Would train on 8 pictures of 2 classes and 4 generated ones/);
  const trained = await seedbed([...train, '--real-weight', '0.5']);
  t.equal(trained.code, 0, trained.stderr);
  t.match((await seedbed([...train.slice(0, 6), '--real-weight', '0.5'])).stderr, /synthetic pictures with realWeight/);
  for (const [args, code, message] of [[[], 2, /--out/], [['--out', place('x'), '--mode', 'both'], 2, /class, dataset, picture/], [['--out', place('command-out')], 2, /Expected mode "picture"/], [['--out', place('x'), '--shard', '2'], 2, /1\/4/], [['--out', place('x'), '--ask-for', place('nothing.json')], 1, /nothing\.json/], [['--out', place('x'), '--names', join(model, 'tokenizer', 'merges.txt')], 1, /Expected JSON/]] as const) {
    const refusedRun = await seedbed([...grow, ...args]);
    t.equal(refusedRun.code, code, refusedRun.stderr);
    t.match(refusedRun.stderr, message);
  }
});

t.test('a run that is killed, again and again and anywhere, ends as an unbroken one', async (t) => {
  const folders = { data: place('kill/data'), test: place('kill/test') };
  for (const [name, count, salt] of [['data', 2, 0], ['test', 2, 1]] as const)
    for (const { key, image, label } of await dataset(count, salt).load()) {
      const folder = join(folders[name], `class ${label}`);
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(folder, `${key.replace('/', '-')}.png`), await encodePng(image));
    }
  const options = { ...small, ...folders, filter: { twins: true }, compare: { ...small.compare, seeds: 1 } };
  const whole = await dataDream({ ...options, out: place('unbroken') });
  const script = `
    import { dataDream } from 'seedbed';
    const [out, stage, later] = process.argv.slice(1);
    for await (const event of dataDream({ ...${JSON.stringify(options)}, out })) if (event.stage === stage) setTimeout(() => process.kill(process.pid, 'SIGKILL'), Number(later));`;
  const stages = ['check', 'load', 'adapt', 'generate', 'filter', 'compare', 'report'];
  const out = place('killed');
  const kills = Number(process.env['SEEDBED_KILLS'] ?? stages.length);
  const killed = new Map<string, number>();
  for (let i = 0; i < kills; i++) {
    const stage = stages[i % stages.length] as string;
    const { code, stderr } = await runScript(script, { args: [out, stage, String(stage === 'report' ? 0 : (i * 13) % 40)] });
    t.not(code, 1, stderr);
    if (code !== 0) killed.set(stage, (killed.get(stage) ?? 0) + 1);
  }
  t.same([...killed.keys()], stages, `killed in every stage: ${JSON.stringify(Object.fromEntries(killed))}`);
  const resumed = await dataDream({ ...options, out });
  t.same(filesIn(out), filesIn(place('unbroken')), `${kills} kills`);
  t.same(answersOf(resumed), answersOf(whole));
});

t.test('real and generated pictures have their weights in the loss', async (t) => {
  const options = { model: { imageSize: 32, patchSize: 8, width: 32, depth: 1, heads: 2 }, train: dataset(4), steps: 4, shardSize: 4, lr: 1e-2, seed: 3, threads: 1 } as const;
  using alone = await trainClassifier({ ...options, batchSize: 4 });
  using all = await trainClassifier({ ...options, batchSize: 8, synthetic: dataset(4, 2), realWeight: 1 });
  t.ok(worst(all.training?.losses ?? [], alone.training?.losses ?? []) < 1, 'with all weight on the real ones the others do not count');
  using none = await trainClassifier({ ...options, batchSize: 8, synthetic: dataset(4, 2), realWeight: 0 });
  using some = await trainClassifier({ ...options, batchSize: 8, synthetic: dataset(4, 2) });
  const first = ({ training }: Classifier): number => training?.losses[0] ?? NaN;
  t.ok(Math.abs(first(some) - 0.8 * first(all) - 0.2 * first(none)) < 1e-5, 'by default 0.8 of one and 0.2 of the other');
  t.ok(Math.abs(first(all) - first(none)) > 1e-3, 'which differ');
  using twice = await trainClassifier({ ...options, batchSize: 8, synthetic: dataset(4, 2), threads: 2 });
  t.same(twice.training?.losses, some.training?.losses, 'whatever the threads');
  await refused(t, [
    ['mixup', () => trainClassifier({ ...options, synthetic: dataset(2, 2), mixup: true }), 'ERR_INVALID_ARGUMENT', /no mixup/],
    ['a weight without generated pictures', () => trainClassifier({ ...options, realWeight: 0.5 }), 'ERR_INVALID_ARGUMENT', /synthetic pictures with realWeight/],
    ['a weight above 1', () => trainClassifier({ ...options, synthetic: dataset(2, 2), realWeight: 2 }), 'ERR_INVALID_ARGUMENT', /realWeight/],
    ['other classes', () => trainClassifier({ ...options, synthetic: dataset(2, 2, ['x', 'y', 'z']) }), 'ERR_DATASET', /found 'x'/],
    ['test pictures', () => trainClassifier({ ...options, synthetic: dataset(2, 2).as('test') }), 'ERR_DATA_LEAK', /generated pictures/],
  ]);
});
