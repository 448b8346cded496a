import fc from 'fast-check';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import tar from 'tar-stream';
import t from 'tap';
import { Dataset, encodePng, openDataset, writeDataset, type Image, type Sample } from 'seedbed';
import { packageRoot } from '#lib/setup/find.js';
import { picture, refused, thrown } from './support.js';

const png = (salt: number): Promise<Buffer> => encodePng(picture(8, 6, 3, salt));

async function imageFolder(root: string, classes: Record<string, number>): Promise<string> {
  let salt = 0;
  for (const [name, count] of Object.entries(classes)) {
    await mkdir(join(root, name), { recursive: true });
    for (let i = 0; i < count; i++) await writeFile(join(root, name, `${i}.png`), await png(salt++));
  }
  return root;
}

async function tarOf(files: Record<string, Uint8Array | string>): Promise<Buffer> {
  const pack = tar.pack();
  for (const [name, content] of Object.entries(files)) pack.entry({ name }, Buffer.from(content));
  pack.finalize();
  return buffer(pack);
}

function idx(type: number, shape: number[], data: Uint8Array): Buffer {
  const header = Buffer.alloc(4 + 4 * shape.length);
  header[2] = type;
  header[3] = shape.length;
  shape.forEach((size, i) => header.writeUInt32BE(size, 4 + 4 * i));
  return Buffer.concat([header, data]);
}

/** A dataset without files. */
function plain(labels: readonly number[], classes: number): Dataset {
  const entries = labels.map((label, i) => ({ key: `k${i}`, label, read: (): Promise<Image> => Promise.resolve(picture(4, 4, 3, i)) }));
  return new Dataset({ name: 'plain', classes: Array.from({ length: classes }, (_, i) => `c${i}`), entries });
}

t.test('bad data is named', async (t) => {
  const root = t.testdir();
  const at = (name: string): string => join(root, name);
  await mkdir(at('empty'));
  await imageFolder(at('one'), { only: 2 });
  await imageFolder(at('stray'), { a: 1, b: 1 });
  await writeFile(join(at('stray'), 'a', 'notes.txt'), 'hello');
  await writeFile(join(at('stray'), 'readme.md'), 'hello');
  await imageFolder(at('corrupt'), { a: 2, b: 2 });
  await writeFile(join(at('corrupt'), 'a', '0.png'), '');
  await writeFile(join(at('corrupt'), 'b', '1.png'), (await png(9)).subarray(0, 60));
  await mkdir(join(at('folder'), 'a', 'x.png'), { recursive: true });
  await imageFolder(at('folder'), { a: 1, b: 1 });
  await writeFile(at('file.bin'), 'hello');
  await writeFile(at('bad.tar'), 'hello hello '.repeat(200));
  await writeFile(at('nolabel.tar'), await tarOf({ 'a.png': await png(0), 'b.png': await png(1), 'b.cls': '1' }));
  await writeFile(at('noimage.tar'), await tarOf({ 'a.cls': '0', 'b.png': await png(1), 'b.cls': '1' }));
  await mkdir(at('idx'));
  await writeFile(join(at('idx'), 'train-images-idx3-ubyte'), idx(8, [2, 2, 2], new Uint8Array(7)));
  await writeFile(join(at('idx'), 'train-labels-idx1-ubyte'), idx(8, [2], Uint8Array.of(0, 1)));
  await mkdir(at('meta'));
  await writeFile(join(at('meta'), 'metadata.jsonl'), '{"file_name": "a.png", "label": "x"}\n{"label": "y"}\n');

  const cases: [string, () => Promise<unknown>, string, RegExp][] = [
    ['nothing there', () => openDataset(at('none')), 'ERR_FILE_NOT_FOUND', /there is nothing/],
    ['an empty folder', () => openDataset(at('empty')), 'ERR_DATASET', /Expected pictures in .*empty', found none/],
    ['one class', () => openDataset(at('one')), 'ERR_DATASET', /at least 2 classes .* found 'only'/],
    ['files that are no images', () => openDataset(at('stray')), 'ERR_IMAGE', /found 'readme\.md': it lies beside the class folders \(and 1 more\); use onCorrupt: 'skip'/],
    ['a file of another kind', () => openDataset(at('file.bin')), 'ERR_DATASET', /a folder, a \.tar, a \.parquet or an IDX file/],
    ['not a tar', () => openDataset(at('bad.tar')), 'ERR_FILE_FORMAT', /Expected a tar file/],
    ['a tar that is a folder', () => openDataset(at('empty'), { kind: 'webdataset' }), 'ERR_DATASET', /found none/],
    ['a sample without label', () => openDataset(at('nolabel.tar')), 'ERR_DATASET', /label \(a\.cls\) for sample 'a'/],
    ['a sample without picture', () => openDataset(at('noimage.tar')), 'ERR_DATASET', /a picture for sample 'a'/],
    ['a short IDX file', () => openDataset(at('idx')), 'ERR_FILE_FORMAT', /Expected 8 bytes of data .* found 7/],
    ['a missing IDX part', () => openDataset(at('idx'), { part: 'test' }), 'ERR_FILE_NOT_FOUND', /for the test part/],
    ['a row without file name', () => openDataset(at('meta')), 'ERR_FILE_FORMAT', /"file_name" and "label" in line 2/],
    ['a misspelt option', () => openDataset(at('one'), { onCorupt: 'skip' } as never), 'ERR_INVALID_ARGUMENT', /Unknown option 'onCorupt' for openDataset; did you mean 'onCorrupt'/],
    ['an unknown kind', () => openDataset(at('one'), { kind: 'zip' as never }), 'ERR_INVALID_ARGUMENT', /one of 'auto', .* for kind, received 'zip'/],
    ['pictures of 0 bytes and cut off, when read', async () => (await openDataset(at('corrupt'))).load(), 'ERR_IMAGE', /'a\/0\.png', found 0 bytes \(and 1 more\); open the dataset with onCorrupt: 'skip'/],
    ['zero shots', () => Promise.resolve(plain([0, 1], 2).subset({ shots: 0 })), 'ERR_INVALID_ARGUMENT', /at least 1 for shots, received 0/],
    ['more shots than pictures', () => Promise.resolve(plain([0, 0, 1], 2).subset({ shots: 2 })), 'ERR_SHOTS', /at least 2 pictures of class 'c1' in plain, found 1/],
    ['parts that leave nothing', () => Promise.resolve(plain([0, 1], 2).split({ validation: 0.5, test: 0.5 })), 'ERR_INVALID_ARGUMENT', /sum to less than 1/],
    ['an index outside', () => plain([0, 1], 2).get(2), 'ERR_INVALID_ARGUMENT', /from 0 to 1 for get, received 2/],
  ];
  await refused(t, cases);

  t.test('and skipped only when asked', async (t) => {
    const stray = await openDataset(at('stray'), { onCorrupt: 'skip' });
    t.equal(stray.length, 2);
    t.same(stray.skipped.map(({ key }) => key), ['readme.md', 'a/notes.txt']);
    const corrupt = await openDataset(at('corrupt'), { onCorrupt: 'skip' });
    t.same(corrupt.keys, ['a/1.png', 'b/0.png']);
    t.same(corrupt.skipped.map(({ key }) => key), ['a/0.png', 'b/1.png']);
    t.match(corrupt.skipped[1]?.reason, /cannot be decoded/);
    t.same((await openDataset(at('folder'))).counts, [1, 1], 'a folder named like a picture is only a folder');
  });
});

t.test('image folders', async (t) => {
  const root = await imageFolder(t.testdir(), { cat: 2, bird: 3, empty: 0 });
  await mkdir(join(root, 'cat', 'deeper'));
  await writeFile(join(root, 'cat', 'deeper', 'z.webp'), await png(50));
  await writeFile(join(root, 'cat', '.DS_Store'), 'x');
  const data = await openDataset(root);
  t.same(data.classes, ['bird', 'cat', 'empty'], 'sorted');
  t.same(data.counts, [3, 3, 0]);
  t.same(data.keys, ['bird/0.png', 'bird/1.png', 'bird/2.png', 'cat/0.png', 'cat/1.png', 'cat/deeper/z.webp']);
  const { image, ...sample } = await data.get(3);
  t.same(sample, { key: 'cat/0.png', label: 1, className: 'cat' });
  t.same([...image.data], [...picture(8, 6, 3, 0).data]);
  const keys: string[] = [];
  for await (const { key } of data) keys.push(key);
  t.same(keys, data.keys);
});

t.test("pictures' captions", async (t) => {
  const root = await imageFolder(join(t.testdir(), 'folder'), { cat: 3, dog: 1 });
  await writeFile(join(root, 'cat', '0.txt'), ' a red cat\n');
  await writeFile(join(root, 'cat', '1.txt'), '\n');
  const data = await openDataset(root);
  t.same(await data.captions(), ['a red cat', undefined, undefined, undefined], 'an empty text is none');
  t.same(data.skipped, [], 'they are no stray files');
  t.equal((await data.get(0)).caption, 'a red cat');
  t.notOk('caption' in (await data.get(1)));
  t.same(await data.filter((key) => key.startsWith('cat')).withClasses(['dog', 'cat']).captions(), ['a red cat', undefined, undefined], 'parts keep them');
  for (const format of ['imagefolder', 'webdataset'] as const) {
    await writeDataset(join(root, '..', format), data, { format });
    t.same(await (await openDataset(join(root, '..', format))).captions(), ['a red cat', undefined, undefined, undefined], format);
  }
  const rows = [{ file_name: 'cat/0.png', label: 'cat', text: 'from the hub' }, { file_name: 'cat/1.png', label: 'cat', prompt: 'made with' }, { file_name: 'dog/0.png', label: 'dog', text: 3 }];
  await writeFile(join(root, 'metadata.jsonl'), rows.map((row) => JSON.stringify(row)).join('\n'));
  t.same(await (await openDataset(root)).captions(), ['from the hub', 'made with', undefined]);
  await writeFile(join(root, 'cat', 'alone.txt'), 'x');
  await rm(join(root, 'metadata.jsonl'));
  t.match((await thrown(() => openDataset(root))).message, /only pictures.*cat\/alone\.txt/, 'a text about no picture');
});

t.test("the hub's parquet files", async (t) => {
  const folder = join(packageRoot, 'test', 'golden', 'parquet');
  const data = await openDataset(folder);
  t.same([...data.classes], ['bird', 'cat & dog'], 'names from the file');
  t.same(data.labels, [0, 1, 1, 1, 0]);
  t.same(data.keys[3], 'train-00001-of-00002.parquet/0');
  for (const [i, { image }] of (await data.load()).entries()) t.same(image, picture(6, 4, 3, i), `picture ${i}`);
  t.same(await data.load(({ image, label }) => [image.width, label]), data.labels.map((label) => [6, label]), 'what is made of each');
  t.same(await data.captioned((key) => `on ${key}`).captions(), data.keys.map((key) => `on ${key}`));
  t.same(await data.captions(), [0, 1, 2, 3, 4].map((i) => `picture ${i}`), 'a column of texts');
  const one = await openDataset(join(folder, 'train-00000-of-00002.parquet'), { classes: ['a', 'b', 'c'] });
  t.same([one.name, [...one.classes], one.labels], ['train-00000-of-00002', ['a', 'b', 'c'], [0, 1, 1]]);
  const root = t.testdir();
  const bytes = await readFile(join(folder, 'train-00000-of-00002.parquet'));
  await writeFile(join(root, 'cut.parquet'), bytes.subarray(0, 2000));
  await writeFile(join(root, 'text.parquet'), 'not a parquet file at all');
  const others = Buffer.from(bytes.toString('latin1').replaceAll('image', 'imago').replaceAll('Image', 'Imago'), 'latin1');
  await writeFile(join(root, 'others.parquet'), others);
  await refused(t, [
    ['half a file', () => openDataset(join(root, 'cut.parquet')), 'ERR_FILE_FORMAT', /Expected a parquet file in '.*cut\.parquet'/],
    ['text', () => openDataset(join(root, 'text.parquet')), 'ERR_FILE_FORMAT', /Expected a parquet file/],
    ['other columns', () => openDataset(join(root, 'others.parquet')), 'ERR_DATASET', /a column of pictures.*found imago, label, text/],
    ['too few names', () => openDataset(folder, { classes: ['a'] }), 'ERR_DATASET', /from 0 to 0.*found '1'/],
    ['no file', () => openDataset(join(root, 'none.parquet')), 'ERR_FILE_NOT_FOUND', /none\.parquet/],
  ]);
});

t.test('WebDataset tars', async (t) => {
  const root = t.testdir();
  const shard = async (name: string, first: number): Promise<void> =>
    writeFile(join(root, name), await tarOf({ [`d/${first}.png`]: await png(first), [`d/${first}.cls`]: '2', [`d/${first}.json`]: '{}', [`${first + 1}.seg.png`]: await png(3), [`${first + 1}.jpg`]: await png(first + 1), [`${first + 1}.cls`]: '0\n' }));
  await shard('s-000.tar', 0);
  await shard('s-001.tar', 10);
  for (const path of [root, join(root, 's-{000..001}.tar')]) {
    const data = await openDataset(path);
    t.same(data.keys, ['d/0', '1', 'd/10', '11']);
    t.same(data.labels, [2, 0, 2, 0]);
    t.same(data.classes, ['0', '1', '2']);
  }
  const named = await openDataset(join(root, 's-001.tar'), { classes: ['x', 'y', 'z'], role: 'test' });
  t.equal((await named.get(0)).className, 'z');
  t.equal(named.role, 'test');
  t.same([...(await named.get(0)).image.data], [...picture(8, 6, 3, 10).data]);
});

t.test('IDX files', async (t) => {
  const root = t.testdir();
  const pixels = Uint8Array.from({ length: 3 * 2 * 2 }, (_, i) => i * 20);
  await writeFile(join(root, 'train-images-idx3-ubyte.gz'), gzipSync(idx(8, [3, 2, 2], pixels)));
  await writeFile(join(root, 'train-labels-idx1-ubyte.gz'), gzipSync(idx(8, [3], Uint8Array.of(1, 0, 1))));
  await writeFile(join(root, 't10k-images-idx3-ubyte'), idx(8, [1, 2, 2], pixels.subarray(0, 4)));
  await writeFile(join(root, 't10k-labels-idx1-ubyte'), idx(8, [1], Uint8Array.of(1)));
  const train = await openDataset(root, { classes: ['no', 'yes'] });
  t.same(train.labels, [1, 0, 1]);
  t.same((await train.get(1)).image, { data: pixels.subarray(4, 8), width: 2, height: 2, channels: 1 });
  const test = await openDataset(join(root, 't10k-images-idx3-ubyte'), { part: 'test' });
  t.equal(test.role, 'test', 'the test part is marked');
  t.equal(test.length, 1);
});

t.test('metadata.jsonl', async (t) => {
  const root = t.testdir();
  await mkdir(join(root, 'sub'));
  await writeFile(join(root, 'sub', 'a.png'), await png(0));
  await writeFile(join(root, 'b.png'), await png(1));
  await writeFile(join(root, 'metadata.jsonl'), '{"file_name": "b.png", "label": "zebra", "text": "ignored"}\n\n{"file_name": "sub/a.png", "label": "ant"}\n');
  const data = await openDataset(root);
  t.same(data.classes, ['ant', 'zebra']);
  t.same(data.labels, [1, 0]);
  t.equal((await data.get(1)).key, 'sub/a.png');
});

t.test('subsets are nested, of the asked size, and follow their seed', async () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 30, maxLength: 80 }), fc.integer({ min: 0, max: 1e6 }), (labels, seed) => {
      const data = plain([...labels, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2], 3);
      const small = data.subset({ shots: 2, seed });
      const large = data.subset({ shots: 4, seed });
      const nested = small.keys.every((key) => large.keys.includes(key));
      const ordered = data.keys.filter((key) => large.keys.includes(key)).join() === large.keys.join();
      return nested && ordered && small.counts.every((n) => n === 2) && large.counts.every((n) => n === 4) && data.subset({ shots: 2, seed }).keys.join() === small.keys.join();
    }),
    { numRuns: 100, seed: 3 },
  );
});

t.test('splits share nothing, lose nothing, and stay put when pictures are added', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 10, maxLength: 100 }), fc.integer({ min: 0, max: 1e6 }), (labels, seed) => {
      const { train, validation, test } = plain(labels, 4).split({ validation: 0.2, test: 0.3, seed });
      const all = [...train.keys, ...validation.keys, ...test.keys];
      return all.length === labels.length && new Set(all).size === all.length && train.role === 'train' && validation.role === 'validation' && test.role === 'test';
    }),
    { numRuns: 100, seed: 4 },
  );
  const before = plain(new Array<number>(200).fill(0).map((_, i) => i % 2), 2).subset({ shots: 20 });
  const after = plain(new Array<number>(220).fill(0).map((_, i) => i % 2), 2).subset({ shots: 20 });
  t.ok(before.keys.filter((key) => after.keys.includes(key)).length > 30, 'ten per cent more pictures change few shots');
});

t.test('datasets are written whole and read back', async (t) => {
  const root = t.testdir();
  const data = plain([0, 1, 2, 1], 3);
  for (const format of ['imagefolder', 'webdataset'] as const) {
    const folder = join(root, format);
    t.equal(await writeDataset(folder, data, { format, samplesPerShard: 3 }), 4);
    const back = await openDataset(folder);
    t.same(back.classes, data.classes, format);
    const pixels = async (set: Dataset): Promise<string[]> => (await set.load()).map(({ image, className }) => `${className}:${[...image.data].join()}`).sort();
    t.same(await pixels(back), await pixels(data), format);
  }
  t.same((await readdir(join(root, 'webdataset'))).sort(), ['classes.txt', 'shard-000000.tar', 'shard-000001.tar']);
  await writeDataset(join(root, 'again'), data, { format: 'webdataset', samplesPerShard: 3 });
  t.same(await readFile(join(root, 'again', 'shard-000000.tar')), await readFile(join(root, 'webdataset', 'shard-000000.tar')), 'the same samples, the same bytes');
  t.equal((await thrown(() => writeDataset(join(root, 'again'), data))).code, 'ERR_FILE_WRITE', 'a folder with something in it is left alone');

  const before = await readdir(root);
  const failing = async function* (): AsyncGenerator<Sample> {
    yield await data.get(0);
    throw new Error('half-way');
  };
  for (const format of ['imagefolder', 'webdataset'] as const) t.equal((await thrown(() => writeDataset(join(root, 'half'), failing(), { format }))).message, 'half-way');
  t.equal((await thrown(() => writeDataset(join(root, 'no', 'such', 'place'), data))).code, 'ERR_FILE_NOT_FOUND');
  t.same(await readdir(root), before, 'nothing half-written is left');
  const twice = async function* (): AsyncGenerator<Sample> {
    yield await data.get(0);
    yield await data.get(0);
  };
  t.match((await thrown(() => writeDataset(join(root, 'twice'), twice()))).message, /received 'k0' twice/);
});

t.test('the demo pictures: two vendors to learn from, a third to test on, nothing shared', async (t) => {
  const train = await openDataset(join('models', 'emoji', 'train.tar'));
  const test = await openDataset(join('models', 'emoji', 'test.tar'));
  t.same(train.classes, test.classes);
  t.same(new Set(train.counts), new Set([24]));
  t.same(new Set(test.counts), new Set([18]));
  t.ok(train.keys.every((key) => /-(noto|fluent)$/.test(key)));
  t.ok(test.keys.every((key) => key.endsWith('-twemoji')));
  const concept = (key: string): string => key.replace(/-(noto|fluent|twemoji)$/, '');
  const learnt = new Set(train.keys.map(concept));
  t.notOk(test.keys.some((key) => learnt.has(concept(key))), 'other things, not only another style');
});
