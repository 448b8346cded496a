import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { dataDream, Dataset, fractals, trainClassifier, writeDataset, writeSafetensors, type Image } from 'seedbed';
import { packageRoot } from '#lib/setup/find.js';
import { writeFormulaPipeline } from './formula.js';
import { picture, ramp, run, runScript, thrown } from './support.js';

function dataset(count: number, size = 32): Dataset {
  const entries = Array.from({ length: count }, (_, i) => ({ key: `p${i}`, label: i % 2, read: (): Promise<Image> => Promise.resolve(picture(size, size, 3, i)) }));
  return new Dataset({ name: 'pictures', classes: ['a', 'b'], entries });
}

const model = { imageSize: 32, patchSize: 8, width: 32, depth: 1, heads: 2 };

/** Mounts a tmpfs in a new folder, or undefined where that is not allowed. */
async function mountTmpfs(options: string): Promise<string | undefined> {
  const folder = await mkdtemp(join(tmpdir(), 'seedbed-test-'));
  return run('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', folder]).then(
    () => folder,
    () => undefined,
  );
}

async function unmount(folder: string): Promise<void> {
  await run('umount', ['-l', folder]);
  await rm(folder, { recursive: true });
}

const small = await mountTmpfs('size=256k');
const readOnly = await mountTmpfs('ro');
t.teardown(async () => {
  for (const folder of [small, readOnly]) if (folder !== undefined) await unmount(folder);
});

t.test('a full disk', { skip: small === undefined && 'mounting a small tmpfs needs root' }, async (t) => {
  const disk = small as string;
  await writeFile(join(disk, 'kept'), 'old');
  const big = { a: ramp(1, [200_000]) };
  const images = dataset(200, 64);
  const cases: [string, () => unknown][] = [
    ['safetensors', () => writeSafetensors(join(disk, 'kept'), big)],
    ['a dataset of folders', () => writeDataset(join(disk, 'folders'), images)],
    ['a dataset of tars', () => writeDataset(join(disk, 'tars'), images, { format: 'webdataset' })],
    ['a checkpoint', () => trainClassifier({ model: { ...model, width: 128 }, train: dataset(4), steps: 2, batchSize: 2, checkpoint: join(disk, 'run'), checkpointEvery: 1 })],
    ['systems', async () => fractals.save(join(disk, 'ifs.json'), await fractals.family({ size: 32, points: 300, count: 4000, fillThreshold: 0, probes: 1 }))],
  ];
  for (const [name, call] of cases) {
    const error = await thrown(call);
    t.equal(error.code, 'ERR_DISK_FULL', `${name}: ${error.message}`);
    t.notMatch(error.message, /\n/, `${name}: one line`);
    t.same(await readdir(disk), ['kept'], `${name}: nothing half-written is left`);
  }
  t.equal(await readFile(join(disk, 'kept'), 'utf8'), 'old', 'the old file stands');
});

t.test('a full disk stops a dataset that grows; it goes on once there is room', { skip: small === undefined && 'mounting a small tmpfs needs root' }, async (t) => {
  const disk = small as string;
  const root = t.testdir();
  const options = { model: writeFormulaPipeline(join(root, 'model'), 'sd1'), data: dataset(4), compare: false, threads: 1, adapt: { rank: 1, steps: 1, size: 32 }, generate: { perClass: 6, steps: 1 } } as const;
  const error = await thrown(() => dataDream({ ...options, out: join(disk, 'grown') }));
  t.equal(error.code, 'ERR_DISK_FULL', error.message);
  t.same((await readdir(join(disk, 'grown'), { recursive: true })).filter((name) => name.endsWith('.tmp')), [], 'nothing half-written is left');
  await run('mount', ['-o', 'remount,size=8m', disk]);
  await dataDream({ ...options, out: join(disk, 'grown') });
  await dataDream({ ...options, out: join(root, 'whole') });
  const picturesOf = async (folder: string): Promise<string[]> => {
    const names = (await readdir(join(folder, 'images'), { recursive: true })).filter((name) => name.endsWith('.png')).sort();
    return Promise.all(names.map(async (name) => `${name} ${(await readFile(join(folder, 'images', name))).toString('base64')}`));
  };
  t.same(await picturesOf(join(disk, 'grown')), await picturesOf(join(root, 'whole')));
  await rm(join(disk, 'grown'), { recursive: true });
});

t.test('a place that cannot be written', { skip: readOnly === undefined && 'mounting a read-only tmpfs needs root' }, async (t) => {
  const locked = readOnly as string;
  for (const [name, call] of [
    ['safetensors', () => writeSafetensors(join(locked, 'x'), { a: ramp(1, [2]) })],
    ['a dataset', () => writeDataset(join(locked, 'x'), dataset(2))],
    ['systems', async () => fractals.save(join(locked, 'x'), await fractals.family({ size: 32, points: 300, count: 1, fillThreshold: 0 }))],
    ['a checkpoint', () => trainClassifier({ model, train: dataset(4), steps: 1, batchSize: 2, checkpoint: join(locked, 'x') })],
  ] as [string, () => unknown][]) {
    const error = await thrown(call);
    t.equal(error.code, 'ERR_FILE_WRITE', `${name}: ${error.message}`);
  }
  t.same(await readdir(locked), []);
});

const TRAIN = `import { trainClassifier, Dataset } from 'seedbed';
import { picture } from './build/test-js/test/support.js';
const [checkpoint, resume] = process.argv.slice(1);
const entries = Array.from({ length: 12 }, (_, i) => ({ key: 'p' + i, label: i % 2, read: async () => picture(32, 32, 3, i) }));
const train = new Dataset({ name: 'pictures', classes: ['a', 'b'], entries });
const job = trainClassifier({ model: ${JSON.stringify(model)}, train, steps: 400, batchSize: 8, mixup: true, checkpoint, checkpointEvery: 1, resume: resume === 'yes' });
for await (const event of job) if (event.type === 'step') console.log(event.step);
const { weights } = { weights: (await job).weights() };
console.log(Buffer.from(weights['head.weight'].data.buffer).toString('hex'));`;

t.test('a process that is killed at any moment loses nothing but its last steps', async (t) => {
  const checkpoint = join(t.testdir(), 'run.safetensors');
  const whole = await runScript(TRAIN, { args: [`${checkpoint}.other`, 'no'] });
  t.equal(whole.code, 0, whole.stderr);
  for (const killAfter of [40, 130]) {
    const child = spawn(process.execPath, ['--input-type=module', '-e', TRAIN, checkpoint, 'yes'], { cwd: packageRoot });
    let seen = '';
    for await (const chunk of child.stdout) {
      seen += String(chunk);
      if (Number(seen.trim().split('\n').at(-1)) >= killAfter) child.kill('SIGKILL');
    }
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    t.equal(child.signalCode, 'SIGKILL');
    t.ok(existsSync(checkpoint));
  }
  const resumed = await runScript(TRAIN, { args: [checkpoint, 'yes'] });
  t.equal(resumed.code, 0, resumed.stderr);
  const lines = (text: string): string[] => text.trim().split('\n');
  t.ok(Number(lines(resumed.stdout)[0]) > 100, `it went on from step ${lines(resumed.stdout)[0]}`);
  t.equal(lines(resumed.stdout).at(-1), lines(whole.stdout).at(-1), 'the same weights as an unbroken run');
});

t.test('a folder where a file should be', async (t) => {
  const folder = t.testdir({ taken: {} });
  await mkdir(join(folder, 'taken', 'full'));
  const error = await thrown(() => trainClassifier({ model, train: dataset(4), steps: 1, batchSize: 2, checkpoint: join(folder, 'taken') }));
  t.equal(error.code, 'ERR_FILE_WRITE');
  t.same(await readdir(folder), ['taken']);
});
