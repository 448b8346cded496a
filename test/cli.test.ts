import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import t from 'tap';
import { packageRoot } from '#lib/setup/find.js';
import { encodePng } from 'seedbed';
import { seedbed } from './command.js';
import { picture, run } from './support.js';

async function photos(root: string): Promise<string> {
  for (const [label, name] of ['cats', 'dogs'].entries()) {
    await mkdir(join(root, name), { recursive: true });
    for (let i = 0; i < 10; i++) await writeFile(join(root, name, `${i}.png`), await encodePng(picture(40, 40, 3, label * 20 + i)));
  }
  return root;
}

t.test('a clone runs the command by name, as npx does', async (t) => {
  const { stdout } = await run(join(packageRoot, 'dist', 'bin', 'seedbed.js'), ['--version']);
  t.match(stdout, /^\d+\.\d+\.\d+/);
});

t.test('wrong use: exit code 2 and a hint', async (t) => {
  for (const [args, message] of [
    [['trian'], /unknown command 'trian'[\s\S]*Did you mean train/],
    [['fractal'], /expected at least one of --out, --sheet, --picture, --systems/],
    [['fractal', '--sheet', 'x.png', '--count', 'many'], /'many' is invalid\. Expected an integer/],
    [['fractal', '--sheet', 'x.png', '--sigma-factor', '99'], /Expected sigmaFactor .* \(ERR_INVALID_ARGUMENT\)/],
    [['train', '--out', 'x'], /missing required argument 'data'/],
    [['train', 'x', '--out', 'y', '--stpes', '3'], /unknown option '--stpes'[\s\S]*Did you mean --steps/],
    [['setup', '--from', 'floppy'], /takes download or pip/],
  ] as const) {
    const { code, stderr } = await seedbed(args);
    t.equal(code, 2, args.join(' '));
    t.match(stderr, message);
  }
});

t.test('failures: exit code 1 and one line; as JSON when asked', async (t) => {
  const { code, stderr } = await seedbed(['train', '/no/such/place', '--out', join(t.testdir(), 'x')]);
  t.equal(code, 1);
  t.equal(stderr, "seedbed: Cannot read '/no/such/place': there is nothing (ERR_FILE_NOT_FOUND)\n");
  const json = await seedbed(['--json', 'evaluate', '/no/model', '/no/data']);
  t.equal(json.code, 1);
  t.equal((JSON.parse(json.stdout) as { error: { code: string } }).error.code, 'ERR_FILE_NOT_FOUND');
  const verbose = await seedbed(['--verbose', 'report', '/no/record']);
  t.match(verbose.stderr, /ERR_FILE_NOT_FOUND\)\n.*\n\s+at /, 'a stack trace with --verbose');
});

t.test('every verb has help with an example', async (t) => {
  const { code, stdout } = await seedbed(['--help']);
  t.equal(code, 0);
  const verbs = [...stdout.matchAll(/^ {2}(\w+) (?:\[|<)/gm)].map((match) => match[1] ?? '').filter((verb) => verb !== 'help');
  t.same(verbs, ['demo', 'setup', 'doctor', 'grow', 'generate', 'fractal', 'train', 'evaluate', 'report']);
  for (const verb of verbs) t.match((await seedbed([verb, '--help'])).stdout, new RegExp(`Example:\\n  \\$ npx seedbed ${verb}`), verb);
  t.match((await seedbed(['--version'])).stdout, /^\d+\.\d+\.\d+\n$/);
});

t.test('doctor and setup say that all is well', async (t) => {
  const doctor = await seedbed(['doctor']);
  t.equal(doctor.code, 0);
  t.match(doctor.stdout, /Ready\.\n$/);
  t.equal((JSON.parse((await seedbed(['doctor', '--json'])).stdout) as { ready: boolean }).ready, true);
  t.match((await seedbed(['setup'])).stdout, /^Nothing to do: libtorch 2\.13\.0/);
});

t.test('fractal writes a sheet, systems and a dataset', async (t) => {
  const folder = t.testdir();
  const at = (name: string): string => join(folder, name);
  const small = ['--count', '6', '--size', '64', '--points', '3000', '--seed', '3'];
  const dry = await seedbed(['fractal', '--out', at('set'), ...small, '--dry-run']);
  t.match(dry.stdout, /^Would write 6 pictures \(imagefolder\)/);
  t.same(await readdir(folder), []);
  const { code, stdout, stderr } = await seedbed(['fractal', '--out', at('set'), '--sheet', at('sheet.png'), '--systems', at('ifs.json'), ...small]);
  t.equal(code, 0, stderr);
  t.match(stdout, /6 copies of one system of sigma-factor 3\.\d+/);
  t.same((await readdir(at('set'))).sort(), ['copy-0', 'copy-1', 'copy-2', 'copy-3', 'copy-4', 'copy-5']);
  t.equal(await readFile(at('set.ifs.json'), 'utf8'), await readFile(at('ifs.json'), 'utf8'));
  const { width, height } = await sharp(at('sheet.png')).metadata();
  t.same([width, height], [6 * 68 + 4, 72]);
  const again = await seedbed(['fractal', '--from', at('ifs.json'), '--out', at('again'), '--size', '64', '--points', '3000', '--json']);
  t.equal(again.code, 0, again.stderr);
  t.equal((JSON.parse(again.stdout) as { copies: number }).copies, 6);
  t.same(await readFile(join(at('again'), 'copy-4', 'copy-4.png')), await readFile(join(at('set'), 'copy-4', 'copy-4.png')), 'the same systems, the same pictures');
});

t.test('train, evaluate, report', async (t) => {
  const folder = t.testdir();
  const data = await photos(join(folder, 'photos'));
  const out = join(folder, 'out');
  t.match((await seedbed(['train', data, '--out', out, '--dry-run'])).stdout, /^Would train on 16 pictures of 2 classes, measure on 4/);
  t.notOk(existsSync(out));
  const trained = await seedbed(['train', data, '--out', out, '--steps', '20', '--batch-size', '8']);
  t.equal(trained.code, 0, trained.stderr);
  t.match(trained.stdout, /% of 4 validation pictures right/);
  t.same((await readdir(out)).sort(), ['checkpoint.safetensors', 'config.json', 'model.safetensors', 'record.json', 'report.html']);
  const html = await readFile(join(out, 'report.html'), 'utf8');
  t.match(html, /named right \(95 % interval/);
  t.notMatch(html, /(src|href)="http/, 'the page needs nothing but itself');
  const evaluated = await seedbed(['evaluate', out, data, '--json']);
  const result = JSON.parse(evaluated.stdout) as { count: number; classes: string[] };
  t.equal(result.count, 20);
  t.same(result.classes, ['cats', 'dogs']);
  const page = join(folder, 'again.html');
  t.equal((await seedbed(['report', join(out, 'record.json'), '--out', page])).code, 0);
  t.equal(await readFile(page, 'utf8'), html);
});

t.test('Ctrl-C: exit code 130, and --resume goes on', async (t) => {
  const folder = t.testdir();
  const data = await photos(join(folder, 'photos'));
  const args = ['train', data, '--out', join(folder, 'out'), '--steps', '400', '--batch-size', '4', '--validation', '0.5'];
  let killed = false;
  const { code, stderr } = await seedbed(args, (text, kill) => {
    if (!killed && text.includes('step')) kill('SIGINT');
    killed ||= text.includes('step');
  });
  t.equal(code, 130, stderr);
  t.match(stderr, /Stopping after this step/);
  t.ok(existsSync(join(folder, 'out', 'checkpoint.safetensors')), 'the state was saved');
  const resumed = await seedbed([...args, '--resume']);
  t.equal(resumed.code, 0, resumed.stderr);
});

t.test('a small demo, from the formula to the report', async (t) => {
  const out = join(t.testdir(), 'demo');
  const { code, stdout, stderr } = await seedbed(['demo', 'fractal', '--out', out, '--seeds', '2', '--shots', '2', '--steps', '4', '--pretrain-steps', '4', '--json']);
  t.equal(code, 0, stderr);
  const result = JSON.parse(stdout) as { arms: { name: string; runs: unknown[] }[]; comparisons: { differences: number[] }[] };
  t.same(result.arms.map(({ name, runs }) => `${name}: ${runs.length}`), ['from scratch: 2', 'after the live pre-training: 2', 'from the shipped backbone: 2']);
  t.equal(result.comparisons.length, 2);
  const html = await readFile(join(out, 'report.html'), 'utf8');
  for (const text of ['Does looking at one fractal help', 'guessing', '95 % interval', '180 pictures']) t.match(html, text);
});
