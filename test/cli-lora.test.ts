import { existsSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { encodePng, loadDiffusion, readGenerationSettings, readSafetensors } from 'seedbed';
import { readRecord } from '#lib/report/record.js';
import { CommandThread, seedbed } from './command.js';
import { formulaNets, storedModel, writeFormulaPipeline } from './formula.js';
import { picture, worst } from './support.js';

const root = t.testdir();
const at = (...names: string[]): string => join(root, ...names);
const model = writeFormulaPipeline(at('tiny'), 'sd1', undefined, { unet: storedModel('unet', 'small'), vae: storedModel('vae', 'small'), text: formulaNets('sd1').text });
const thread = new CommandThread();
t.teardown(() => thread.dispose());
await mkdir(at('cats'));
for (const i of [0, 1]) await writeFile(at('cats', `${i}.png`), await encodePng(picture(32, 40, 3, i)));
const TRAIN = ['lora', 'train', at('cats'), '--prompt', 'a red cat', '--model', model, '--rank', '2', '--size', '16', '--lr', '0.01', '--threads', '1'];

t.test('wrong use and failures', async (t) => {
  const cases: [string[], number, RegExp][] = [
    [[...TRAIN, '--out', at('x.bin')], 2, /ends in \.safetensors for --out/],
    [[...TRAIN, '--out', at('x.safetensors'), '--rank', '0'], 2, /rank/],
    [['lora', 'train', at('cats'), '--prompt', 'a cat', '--model', model, '--alpha', '8', '--out', at('x.safetensors')], 2, /Expected rank with alpha/],
    [['lora', 'train', at('none'), '--model', model, '--out', at('x.safetensors')], 1, /ERR_FILE_NOT_FOUND/],
    [['lora', 'train', at('cats'), '--model', model, '--out', at('x.safetensors'), '--size', '16', '--threads', '1'], 2, /caption/],
    [[...TRAIN, '--out', at('x.safetensors'), '--sample-every', '2'], 2, /expected --sample-prompt/],
    [['lora', 'merge', at('none.safetensors'), '--model', model, '--out', at('merged')], 1, /ERR_FILE_NOT_FOUND/],
    [['generate', 'a cat', '--model', model, '--lora', ':2', '--out', at('x.png')], 2, /Expected a LoRA's path/],
  ];
  for (const [args, expected, message] of cases) {
    const { code, stderr } = await thread.seedbed(args);
    t.equal(code, expected, `${args.slice(-2).join(' ')}: ${stderr}`);
    t.match(stderr, message);
  }
  t.notOk(existsSync(at('x.safetensors')) || existsSync(at('merged')));
});

t.test('train, generate with it, merge', async (t) => {
  const { code, stdout, stderr } = await thread.seedbed([...TRAIN, '--out', at('cat.safetensors'), '--steps', '3', '--json']);
  t.equal(code, 0, stderr);
  const { written, steps, losses } = JSON.parse(stdout) as { written: string[]; steps: number; losses: number[] };
  t.same(written, [at('cat.safetensors'), at('cat.kohya.safetensors')]);
  t.equal(steps, 3);
  t.equal(losses.length, 3);
  t.notOk(existsSync(at('cat.checkpoint.safetensors')), 'a finished run leaves no state');
  t.match(readSafetensors(at('cat.safetensors')).metadata['seedbed.training'], /"rank":2/);

  const generate = ['generate', 'a red cat', '--steps', '2', '--sampler', 'ddim', '--width', '16', '--height', '16', '--threads', '1', '--dtype', 'float32'];
  const made = await thread.seedbed([...generate, '--model', model, '--lora', `${at('cat.safetensors')}:0.5`, '--out', at('cat.png')]);
  t.equal(made.code, 0, made.stderr);
  t.same((await readGenerationSettings(at('cat.png')))?.['loras'], { cat: 0.5 });

  const merged = await thread.seedbed(['lora', 'merge', `${at('cat.kohya.safetensors')}:0.5`, '--model', model, '--out', at('merged'), '--threads', '1']);
  t.equal(merged.code, 0, merged.stderr);
  using plain = await loadDiffusion(model, { dtype: 'float32', device: 'cpu', threads: 1 });
  using whole = await loadDiffusion(at('merged'), { dtype: 'float32', device: 'cpu', threads: 1 });
  plain.loras.add(at('cat.safetensors'), { scale: 0.5 });
  const call = { prompt: 'a red cat', steps: 2, width: 16, height: 16, decode: false };
  t.ok(worst((await whole.generate(call)).latents.data, (await plain.generate(call)).latents.data, { rtol: 1e-4, atol: 1e-4 }) <= 1, 'the merged folder gives what the adapter gives');
});

t.test('pictures during training, the record and its report', async (t) => {
  const sampling = [...TRAIN, '--out', at('seen.safetensors'), '--steps', '5', '--format', 'diffusers', '--sample-prompt', 'a red cat', 'a house', '--sample-every', '2', '--sample-steps', '2', '--json'];
  const { code, stdout, stderr } = await thread.seedbed(sampling);
  t.equal(code, 0, stderr);
  const { samples, record, report } = JSON.parse(stdout) as { samples: string[]; record: string; report: string };
  t.same(samples, ['2-0', '2-1', '4-0', '4-1', '5-0', '5-1'].map((name) => at('seen.samples', `${name}.png`)));
  t.match(await readGenerationSettings(at('seen.samples', '4-1.png')), { prompt: 'a house', seed: 1, steps: 2, lora: 'seen.safetensors', loraUpdate: 4 });
  t.match(await readRecord(record), { kind: 'lora', name: 'seen', pictures: 2, losses: { length: 5 }, seconds: { length: 5 }, samples: { prompts: ['a red cat', 'a house'], steps: [{ step: 2 }, { step: 4 }, { step: 5 }] }, written: [at('seen.safetensors')] });
  const made = readFileSync(report, 'utf8');
  t.equal(made.match(/<img/g)?.length, 6);
  t.equal((await thread.seedbed(['report', record, '--out', at('again.html')])).code, 0);
  t.equal(readFileSync(at('again.html'), 'utf8'), made);
  const plain = await thread.seedbed([...TRAIN, '--out', at('unseen.safetensors'), '--steps', '5', '--format', 'diffusers']);
  t.equal(plain.code, 0, plain.stderr);
  t.same(readSafetensors(at('unseen.safetensors')).tensors, readSafetensors(at('seen.safetensors')).tensors, 'the same adapter without pictures');
});

t.test('interrupted: exit code 130, and --resume gives the bytes of an unbroken run', async (t) => {
  const long = [...TRAIN, '--steps', '60', '--checkpoint-every', '10', '--format', 'diffusers'];
  t.equal((await thread.seedbed([...long, '--out', at('whole.safetensors')])).code, 0);
  let sent = false;
  const { code } = await seedbed([...long, '--out', at('broken.safetensors')], (text, kill) => {
    if (sent || !text.includes('train')) return;
    sent = true; // a second signal would end it at once
    setTimeout(() => kill('SIGTERM'), 300);
  });
  if (code === 0) t.comment('the run was over before the signal');
  else {
    t.equal(code, 130);
    t.notOk(existsSync(at('broken.safetensors')));
    t.equal((await thread.seedbed([...long, '--out', at('broken.safetensors'), '--resume'])).code, 0);
  }
  t.same(readSafetensors(at('broken.safetensors')).tensors, readSafetensors(at('whole.safetensors')).tensors);
});
