import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32, deflateSync } from 'node:zlib';
import fc from 'fast-check';
import t from 'tap';
import { encodePng, readImage } from 'seedbed';
import { readGenerationSettings, settingsFromText, settingsToText, writeGenerationSettings, type GenerationSettings } from '#lib/diffusion/png-metadata.js';
import { readPngTexts, writePngTexts } from '#lib/diffusion/png-text.js';
import { picture, run, thrown } from './support.js';

const png = await encodePng(picture(5, 4, 3));

/** A chunk, built as the specification says. */
function chunk(type: string, data: Buffer): Buffer {
  const frame = Buffer.alloc(12 + data.length);
  frame.writeUInt32BE(data.length, 0);
  Buffer.concat([Buffer.from(type), data]).copy(frame, 4);
  frame.writeUInt32BE(crc32(frame.subarray(4, -4)), 8 + data.length);
  return frame;
}
/** The picture with a chunk behind its header (8 bytes of signature, 25 of IHDR). */
const withChunk = (type: string, data: Buffer): Buffer => Buffer.concat([png.subarray(0, 33), chunk(type, data), png.subarray(33)]);

t.test('files that are no whole PNG', async (t) => {
  const damaged = Buffer.from(withChunk('tEXt', Buffer.from('a\0text')));
  damaged[45] = 0x7a;
  const cases: [string, Buffer, RegExp][] = [
    ['nothing', Buffer.alloc(0), /Expected a PNG picture/],
    ['a JPEG', Buffer.from([0xff, 0xd8, 0xff, 0xe0, 0, 0, 0, 0, 0]), /Expected a PNG picture/],
    ['cut off', Buffer.from(png.subarray(0, 60)), /cut off at byte 60/],
    ['damaged', damaged, /damaged part 'tEXt' at byte 33/],
    ['a bad zTXt', withChunk('zTXt', Buffer.from('a\0\0no zlib')), /found a damaged one/],
  ];
  const folder = t.testdir();
  for (const [name, content, message] of cases) {
    t.match(await thrown(() => readPngTexts(content)), { code: 'ERR_IMAGE', message }, name);
    await writeFile(join(folder, 'x.png'), content);
    t.match(await thrown(() => readGenerationSettings(join(folder, 'x.png'))), { code: 'ERR_IMAGE', message: /^Cannot read '.*x\.png': / }, `${name}, by path`);
  }
  t.match(await thrown(() => readGenerationSettings(join(folder, 'none.png'))), { code: 'ERR_FILE_NOT_FOUND' });
  t.match(await thrown(() => writePngTexts(png, { '': 'x' })), { code: 'ERR_INVALID_ARGUMENT' });
  t.equal(await readGenerationSettings(png), undefined, 'a picture without settings');
});

t.test('the three kinds of text chunks are read', async (t) => {
  const zipped = deflateSync(Buffer.from('größer', 'latin1'));
  t.same(readPngTexts(withChunk('tEXt', Buffer.from('key\0größer', 'latin1'))), { key: 'größer' });
  t.same(readPngTexts(withChunk('zTXt', Buffer.concat([Buffer.from('key\0\0'), zipped]))), { key: 'größer' });
  t.same(readPngTexts(withChunk('iTXt', Buffer.from('key\0\0\0de\0Schlüssel\0größer 🐱'))), { key: 'größer 🐱' });
  t.same(readPngTexts(withChunk('iTXt', Buffer.concat([Buffer.from('key\0\x01\0\0\0'), deflateSync(Buffer.from('🐱'))]))), { key: '🐱' });
});

t.test('texts are written, replaced, and leave the picture alone', async (t) => {
  const once = writePngTexts(png, { a: 'one', b: 'zwei\n日本' });
  t.same(readPngTexts(once), { a: 'one', b: 'zwei\n日本' });
  const twice = writePngTexts(once, { a: 'three' });
  t.same(readPngTexts(twice), { a: 'three', b: 'zwei\n日本' });
  t.equal(twice.length, once.length + 2);
  const path = join(t.testdir(), 'x.png');
  await writeFile(path, twice);
  t.same((await readImage(path)).data, picture(5, 4, 3).data);
});

const text = fc.oneof(fc.string({ unit: 'binary' }), fc.string({ unit: 'grapheme' }), fc.array(fc.constantFrom('a cat', ', ', '\n', '"', 'Negative prompt: ', 'Steps: 20, Seed: 1, Size: 2x2', '\\', '\0', 'ü', '🐱', ': ')).map((parts) => parts.join('')));
const finite = fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => (Object.is(value, -0) ? 0 : value));
const settings: fc.Arbitrary<GenerationSettings> = fc.record(
  {
    prompt: text,
    negativePrompt: text,
    steps: fc.integer({ min: 1, max: 10_000 }),
    sampler: fc.oneof(fc.constantFrom('ddim', 'euler_ancestral', 'dpmpp_2m'), fc.record({ type: fc.constant('ddim'), eta: finite }, { noNullPrototype: true })),
    guidanceScale: finite,
    seed: fc.maxSafeNat(),
    width: fc.integer({ min: 8, max: 4096 }),
    height: fc.integer({ min: 8, max: 4096 }),
    model: text,
    extra: fc.array(text),
  },
  { requiredKeys: ['prompt'], noNullPrototype: true },
);

t.test('what is written is read back, whatever it is', async (t) => {
  await fc.assert(
    fc.asyncProperty(settings, async (value) => {
      assert.deepStrictEqual(await readGenerationSettings(writeGenerationSettings(png, value)), value);
    }),
    { numRuns: 200 },
  );
  t.pass('200 random settings');
});

t.test('the text form', async (t) => {
  const full = { prompt: 'a cat,\n"sitting"', negativePrompt: 'dog: big\nblurry', steps: 20, sampler: 'euler_ancestral', guidanceScale: 7, seed: 1, width: 512, height: 768, model: 'sd, 1.5' };
  t.equal(settingsToText(full), 'a cat,\n"sitting"\nNegative prompt: dog: big\nblurry\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x768, Model: "sd, 1.5", Version: seedbed');
  t.strictSame(settingsFromText(settingsToText(full)), { ...full, other: { Version: 'seedbed' } });

  const cases: [string, GenerationSettings][] = [
    [
      // as another program writes it
      'masterpiece, (cat:1.2)\nNegative prompt: lowres\nSteps: 28, Sampler: DPM++ 2M Karras, CFG scale: 7.5, Seed: 2870305590, Size: 512x512, Model hash: 6ce0161689, Model: v1-5-pruned-emaonly, Denoising strength: 0.7, Lora hashes: "a: 1, b: 2", Version: v1.6.0',
      {
        ...{ prompt: 'masterpiece, (cat:1.2)', negativePrompt: 'lowres', steps: 28, sampler: 'dpmpp_2m', schedule: 'karras', guidanceScale: 7.5, seed: 2870305590, width: 512, height: 512, strength: 0.7, model: 'v1-5-pruned-emaonly' },
        other: { 'Model hash': '6ce0161689', 'Lora hashes': 'a: 1, b: 2', Version: 'v1.6.0' },
      },
    ],
    ['a cat\nSteps: 20, Sampler: DPM++ 2M SDE, Schedule type: Exponential, Seed: 1', { prompt: 'a cat', steps: 20, sampler: 'dpmpp_2m_sde', schedule: 'exponential', seed: 1 }],
    ['a cat\nSteps: 20, Sampler: Restart, Schedule type: Automatic, Seed: x', { prompt: 'a cat', steps: 20, sampler: 'Restart', other: { Seed: 'x' } }],
    ['only a prompt', { prompt: 'only a prompt' }],
    ['a picture: of a cat\nat 5: the clock', { prompt: 'a picture: of a cat\nat 5: the clock' }],
    ['\nSteps: 1, Seed: 2, CFG scale: 3', { prompt: '', steps: 1, seed: 2, guidanceScale: 3 }],
    ['', { prompt: '' }],
  ];
  for (const [form, expected] of cases) t.strictSame(settingsFromText(form), expected, form.slice(0, 30).replaceAll('\n', ' '));

  t.strictSame(await readGenerationSettings(writePngTexts(png, { parameters: 'a cat' })), { prompt: 'a cat' });
  t.strictSame(await readGenerationSettings(writePngTexts(png, { parameters: 'a cat', seedbed: '{"no": "settings"}' })), { prompt: 'a cat' }, 'JSON that is not ours');
});

const python = process.env['SEEDBED_PYTHON'] ?? 'python3';
const skip = spawnSync(python, ['-c', 'import PIL']).status === 0 ? false : `${python} has no Pillow; SEEDBED_PYTHON names another one`;

t.test('Pillow reads what we write, and we what Pillow writes', { skip }, async (t) => {
  const folder = t.testdir();
  const [ours, theirs] = [join(folder, 'ours.png'), join(folder, 'theirs.png')];
  const value = { prompt: 'größer\n"日本" 🐱', negativePrompt: 'naïve', steps: 3, seed: 4, width: 5, height: 4 };
  await writeFile(ours, writeGenerationSettings(png, value));
  const code = `
import json, sys
from PIL import Image
from PIL.PngImagePlugin import PngInfo
image = Image.open(sys.argv[1])
image.load()
info = PngInfo()
info.add_text('parameters', 'a cat\\nSteps: 1, Seed: 2, Size: 3x4', zip=True)
info.add_itxt('note', 'größer 日本', zip=True)
Image.new('RGB', (3, 4)).save(sys.argv[2], pnginfo=info)
print(json.dumps(image.text))
`;
  const { stdout } = await run(python, ['-c', code, ours, theirs]);
  const read = JSON.parse(stdout) as Record<string, string>;
  t.equal(read['parameters'], settingsToText(value));
  t.strictSame(JSON.parse(read['seedbed'] ?? ''), value);
  t.strictSame(await readGenerationSettings(theirs), { prompt: 'a cat', steps: 1, seed: 2, width: 3, height: 4 });
  t.equal(readPngTexts(await readFile(theirs))['note'], 'größer 日本');
});
