import { existsSync, readFileSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { encodePng, loadDiffusion, optionsFromSettings, readGenerationSettings, readImage, writeGenerationSettings, type GenerationSettings } from 'seedbed';
import { CommandThread, seedbed } from './command.js';
import { formulaNets, storedModel, writeFormulaPipeline } from './formula.js';
import { picture, thrown } from './support.js';

interface Printed {
  files: { file: string; seed: number; skipped: boolean; settings: GenerationSettings }[];
  warnings: string[];
}

const root = t.testdir();
const model = writeFormulaPipeline(join(root, 'tiny'), 'sd1', undefined, { unet: storedModel('unet', 'small'), vae: storedModel('vae', 'small'), text: formulaNets('sd1').text });
// A process of its own is started where that is what is tested: exit codes, output, signals, the same bytes.
const thread = new CommandThread();
t.teardown(() => thread.dispose());
const at = (name: string): string => join(root, name);
const SMALL = ['--model', model, '--width', '32', '--height', '32', '--steps', '2', '--sampler', 'ddim', '--dtype', 'float32', '--threads', '1', '--enlarge', '1', '--batch-size', '1'];
await writeFile(at('photo.png'), await encodePng(picture(32, 32, 3)));
await writeFile(at('mask.png'), await encodePng({ data: Uint8Array.from({ length: 1024 }, (_, i) => (i % 32 >= 16 ? 255 : 0)), width: 32, height: 32, channels: 1 }));

t.test('wrong use: exit code 2, before anything is made', async (t) => {
  const cases: [string[], RegExp][] = [
    [['--out', at('x'), '--model', model], /expected a prompt, or --from/],
    [['a cat', '--out', at('x'), '--model', model, '--count', '0'], /at least 1 for --count/],
    [['a cat', '--out', at('x'), '--model', model, '--enlarge', '0'], /at least 1 for --enlarge/],
    [['a cat', '--out', at('x.png'), '--model', model, '--count', '2'], /expected a folder for --out with 2 pictures, received '.*x\.png'/],
    [['a cat', '--out', at('x'), ...SMALL, '--sampler', 'eular'], /sampler.*eular/],
    [['a cat', '--out', at('x'), ...SMALL, '--sampler', '{"type":'], /Expected a sampler's name, or JSON/],
    [['a cat', '--out', at('x'), ...SMALL, '--strength', '0.5'], /Expected an image with strength/],
    [['a cat', '--out', at('x'), ...SMALL, '--dtype', 'float8'], /dtype/],
  ];
  for (const [args, message] of cases) {
    const { code, stderr } = await thread.seedbed(['generate', ...args]);
    t.equal(code, 2, args.slice(-2).join(' '));
    t.match(stderr, message);
  }
  const process = await seedbed(['generate', '--out', at('x')]);
  t.equal(process.code, 2, 'in a process');
  t.match(process.stderr, /^error: expected a prompt, or --from\n/);
  t.notOk(existsSync(at('x')));
});

t.test('failures: exit code 1 and one line', async (t) => {
  const cases: [string[], RegExp][] = [
    [['a cat', '--out', at('x'), '--model', at('none')], /ERR_FILE_NOT_FOUND\)\n$/],
    [['--from', at('photo.png'), '--out', at('x'), ...SMALL], /Expected a picture with generation settings in '.*photo\.png', found none \(ERR_IMAGE\)\n$/],
    [['a cat', '--out', at('photo.png'), ...SMALL], /Expected '.*photo\.png' to be absent or made with the same settings.*--overwrite \(ERR_FILE_WRITE\)\n$/],
    [['a cat', '--out', join(at('photo.png'), 'sub'), ...SMALL], /ERR_FILE/],
    [['a cat', '--out', at('x'), ...SMALL, '--image', at('nothing.png')], /Cannot read '.*nothing\.png': there is nothing/],
  ];
  for (const [args, message] of cases) {
    const { code, stderr } = await thread.seedbed(['generate', ...args]);
    t.equal(code, 1, args.join(' '));
    t.match(stderr, message);
  }
  const process = await seedbed(['generate', 'a cat', '--out', at('x'), '--model', at('none')]);
  t.equal(process.code, 1, 'in a process');
  t.match(process.stderr, /^seedbed: .*ERR_FILE_NOT_FOUND\)\n$/m);
});

t.test('pictures named by seed, with their settings, skipped when they are there', async (t) => {
  const out = at('cats');
  const args = ['generate', 'a red cat', 'a dog', '--negative', 'a house', '--guidance', '3', '--count', '2', '--seed', '5', '--out', out, ...SMALL];
  const dry = await thread.seedbed([...args, '--dry-run']);
  t.match(dry.stdout, /Would write 4 pictures to .*5\.png, .*8\.png/);
  t.notOk(existsSync(out));
  const first = await seedbed(args);
  t.equal(first.code, 0, first.stderr);
  t.match(first.stdout, /4 pictures in .*cats, \d/);
  t.same((await readdir(out)).sort(), ['5.png', '6.png', '7.png', '8.png']);
  t.match(await readGenerationSettings(join(out, '7.png')), { prompt: 'a dog', negativePrompt: 'a house', seed: 7, steps: 2, sampler: 'ddim', guidanceScale: 3, width: 32, height: 32, model: 'tiny', dtype: 'float32' });

  // Each command is a batch of one picture; the library, asked for the same, gives the same bytes.
  using sd = await loadDiffusion(model, { dtype: 'float32', threads: 1 });
  const { images } = await sd.generate({ prompt: 'a dog', negativePrompt: 'a house', guidanceScale: 3, seed: 7, width: 32, height: 32, steps: 2, sampler: 'ddim' });
  t.same((await readImage(join(out, '7.png'))).data, images[0]?.data);

  const bytes = await readFile(join(out, '6.png'));
  await rm(join(out, '6.png'));
  const again = JSON.parse((await thread.seedbed([...args, '--json'])).stdout) as Printed;
  t.same(again.files.map(({ seed, skipped }) => [seed, skipped]), [[5, true], [6, false], [7, true], [8, true]]);
  t.same(again.files[2]?.settings, await readGenerationSettings(join(out, '7.png')));
  t.same(await readFile(join(out, '6.png')), bytes, 'the missing one comes back byte for byte');

  const other = await thread.seedbed(['generate', 'a red cat', '--seed', '5', '--out', out, ...SMALL]);
  t.equal(other.code, 1);
  t.match(other.stderr, /made with the same settings/);
  t.equal((await thread.seedbed(['generate', 'a red cat', '--seed', '5', '--out', out, ...SMALL, '--overwrite'])).code, 0);
  t.match(await readGenerationSettings(join(out, '5.png')), { guidanceScale: 7.5 });
});

t.test('batches of several pictures resume byte for byte', async (t) => {
  const args = (out: string): string[] => ['generate', 'a cat', ...SMALL, '--count', '3', '--batch-size', '2', '--out', at(out)];
  t.equal((await thread.seedbed(args('whole'))).code, 0);
  await mkdir(at('part'));
  await writeFile(join(at('part'), '1.png'), await readFile(join(at('whole'), '1.png')));
  t.equal((await thread.seedbed(args('part'))).code, 0);
  for (const name of ['0.png', '1.png', '2.png']) t.same(await readFile(join(at('part'), name)), await readFile(join(at('whole'), name)), name);
});

t.test('--from takes the settings of a picture; the command line wins', async (t) => {
  const made = await thread.seedbed(['generate', 'a red cat', '--seed', '9', '--out', at('one.png'), ...SMALL, '--sampler', '{"type":"ddim","eta":0.5}']);
  t.equal(made.code, 0, made.stderr);
  const machine = ['--model', model, '--threads', '1'];
  t.equal((await thread.seedbed(['generate', '--from', at('one.png'), '--out', at('two.png'), ...machine])).code, 0);
  t.same(await readFile(at('two.png')), await readFile(at('one.png')), 'the same picture');
  const changed = JSON.parse((await thread.seedbed(['generate', 'a dog', '--from', at('one.png'), '--steps', '1', '--out', at('three.png'), ...machine, '--json'])).stdout) as Printed;
  t.match(changed.files[0]?.settings, { prompt: 'a dog', steps: 1, seed: 9, width: 32, sampler: { type: 'ddim', eta: 0.5 } });

  const foreign = { prompt: 'a cat', steps: 2, sampler: 'dpmpp_2m', schedule: 'karras', seed: 3, width: 32, height: 32, other: { 'Clip skip': '2', 'Model hash': 'abc' } };
  await writeFile(at('foreign.png'), writeGenerationSettings(await encodePng(picture(8, 8, 3)), foreign));
  const printed = JSON.parse((await thread.seedbed(['generate', '--from', at('foreign.png'), '--out', at('four.png'), ...machine, '--json'])).stdout) as Printed;
  t.match(printed.files[0]?.settings, { sampler: { type: 'dpmpp_2m', sigmas: 'karras' }, seed: 3 });
  t.match(printed.warnings, [/^Not taken over from '.*foreign\.png': Clip skip$/]);
});

t.test('options from settings', async (t) => {
  t.match(await thrown(() => optionsFromSettings({ prompt: '', sampler: 'euler', schedule: 'Align Your Steps' })), { code: 'ERR_INVALID_ARGUMENT', message: /for schedule, received 'Align Your Steps'/ });
  t.same(optionsFromSettings({ prompt: 'x', steps: 3, sampler: { type: 'euler', sigmas: [2, 1, 0] } }).options, { prompt: 'x', sampler: { type: 'euler', sigmas: [2, 1, 0] } }, 'a list stands for the steps');
  t.same(optionsFromSettings({ prompt: 'x', sampler: 'ddim', schedule: 'trailing' }).options.sampler, { type: 'ddim', spacing: 'trailing' });
  t.same(optionsFromSettings({ prompt: 'x', hires: 2, model: 'm' }), { options: { prompt: 'x' }, ignored: ['hires'] });
});

t.test('beginning with a picture', async (t) => {
  const args = ['generate', 'a house', '--image', at('photo.png'), '--mask', at('mask.png'), '--strength', '0.5', ...SMALL, '--steps', '4'];
  t.equal((await thread.seedbed([...args, '--out', at('edit.png')])).code, 0);
  const settings = await readGenerationSettings(at('edit.png'));
  t.match(settings, { strength: 0.5, imageSha256: /^[0-9a-f]{64}$/, maskSha256: /^[0-9a-f]{64}$/ });
  const without = await thread.seedbed(['generate', '--from', at('edit.png'), '--model', model, '--out', at('y.png')]);
  t.equal(without.code, 2);
  t.match(without.stderr, /Expected --image: the picture of --from was made from another one/);
  const mask = await thread.seedbed(['generate', '--from', at('edit.png'), '--image', at('photo.png'), '--model', model, '--out', at('y.png')]);
  t.match(mask.stderr, /Expected --mask/);
  t.equal((await thread.seedbed(['generate', '--from', at('edit.png'), '--image', at('photo.png'), '--mask', at('mask.png'), '--model', model, '--threads', '1', '--out', at('y.png')])).code, 0);
  t.same(await readFile(at('y.png')), await readFile(at('edit.png')));
});

t.test('Ctrl-C and SIGKILL: finished pictures stay whole, and the same command goes on', async (t) => {
  for (const [signal, code] of [['SIGINT', 130], ['SIGKILL', null]] as const) {
    const out = at(`stopped-${signal}`);
    const args = (count: number): string[] => ['generate', 'a cat', '--count', String(count), '--out', out, ...SMALL, '--steps', '20'];
    let poll: NodeJS.Timeout | undefined;
    const ended = await seedbed(args(500), (_, kill) => {
      poll ??= setInterval(() => {
        if (!existsSync(join(out, '0.png'))) return;
        clearInterval(poll); // once: a second signal would end the process at once
        kill(signal);
      }, 5);
    });
    clearInterval(poll);
    t.equal(ended.code, code, ended.stderr);
    if (code === 130) t.match(ended.stderr, /Finished pictures are kept; the same command goes on\.\nseedbed: Interrupted \(ERR_CANCELLED\)\n$/);
    const kept = (await readdir(out)).filter((name) => name.endsWith('.png'));
    t.ok(kept.length >= 1 && kept.length < 500, `${kept.length} kept`);
    for (const name of kept) t.match(await readGenerationSettings(join(out, name)), { seed: Number.parseInt(name) });
    if (code === 130) t.equal((await readdir(out)).length, kept.length, 'nothing half-written');
    const resumed = JSON.parse((await thread.seedbed([...args(kept.length + 1), '--json'])).stdout) as Printed;
    t.same(resumed.files.map(({ skipped }) => skipped), [...kept.map(() => true), false]);
  }
});

t.test('a model for small pictures: larger copies, batches, its own settings, a folder named by the prompt', async (t) => {
  const small = writeFormulaPipeline(at('small'), 'sd1');
  const config = JSON.parse(readFileSync(join(small, 'unet', 'config.json'), 'utf8')) as Record<string, unknown>;
  await writeFile(join(small, 'unet', 'config.json'), JSON.stringify({ ...config, sample_size: 4 }));
  await writeFile(join(small, 'seedbed.json'), '{ "steps": 3, "guidanceScale": 2 }');
  const { code, stdout, stderr } = await seedbed(['generate', 'A red fox, smiling!', '--model', small, '--count', '2', '--sampler', 'ddim', '--threads', '1', '--json'], () => {}, root);
  t.equal(code, 0, stderr);
  const { files } = JSON.parse(stdout) as { files: { file: string; settings: Record<string, unknown> }[] };
  t.strictSame(files.map(({ file }) => file), ['a-red-fox-smiling/0.png', 'a-red-fox-smiling/1.png']);
  t.match(files[0]?.settings, { steps: 3, guidanceScale: 2 });
  const [plain, large] = await Promise.all(['0.png', '0@4x.png'].map((name) => readImage(at(join('a-red-fox-smiling', name)))));
  t.equal(large?.width, 4 * (plain?.width ?? 0));
  await writeFile(join(small, 'seedbed.json'), '{ "step": 3 }');
  const wrong = await thread.seedbed(['generate', 'a fox', '--model', small, '--out', at('x')]);
  t.equal(wrong.code, 1);
  t.match(wrong.stderr, /seedbed\.json/);
});
