import { existsSync } from 'node:fs';
import { cp, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { loadTokenizer } from '#lib/diffusion/tokenizer.js';
import { dataFile, golden, thrown } from './support.js';

interface Case {
  text: string;
  ids: number[];
  lost?: string;
}
interface Kind {
  files: Record<string, unknown>;
  padId: number;
  cases: Case[];
}
const { vocab, merges, small, saved, clip } = golden('tokenizer') as {
  vocab: Record<string, number>;
  merges: string[];
  small: Record<string, Kind>;
  saved: Record<string, unknown>;
  clip: Record<string, Kind>;
};

const json = (files: Record<string, unknown>): Record<string, string> => Object.fromEntries(Object.entries(files).map(([name, content]) => [name, JSON.stringify(content)]));
const smallFolder = (kind: string): Record<string, string> => ({ ...json({ 'vocab.json': vocab, ...small[kind]?.files }), 'merges.txt': `#version: 0.2\n${merges.join('\n')}\n` });

async function check(t: Test, folder: string, { cases, padId }: Kind): Promise<void> {
  const tokenizer = await loadTokenizer(folder);
  t.equal(tokenizer.padId, padId);
  t.ok(cases.length > 30);
  for (const { text, ids, lost } of cases) {
    const padded = [...ids, ...new Array<number>(77 - ids.length).fill(padId)];
    t.same(tokenizer.encode(text), { ids: padded, truncated: lost }, encodeURI(text).slice(0, 60));
  }
}

t.test('wrong folders', async (t) => {
  const whole = saved['tokenizer.json'] as { normalizer: unknown };
  const cases: [string, Record<string, string>, string, RegExp][] = [
    ['nothing', {}, 'ERR_FILE_NOT_FOUND', /vocab\.json and merges\.txt, or tokenizer\.json/],
    ['half', { 'vocab.json': '{}' }, 'ERR_FILE_NOT_FOUND', /merges\.txt/],
    ['LFS', { ...smallFolder('sd1'), 'vocab.json': 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n' }, 'ERR_FILE_FORMAT', /vocab\.json' is a Git LFS pointer.*git lfs pull/],
    ['no JSON', { ...smallFolder('sd1'), 'vocab.json': '{' }, 'ERR_FILE_FORMAT', /Expected JSON in .*vocab\.json/],
    ['empty', { ...smallFolder('sd1'), 'tokenizer_config.json': '' }, 'ERR_FILE_FORMAT', /tokenizer_config\.json', found an empty file/],
    ['no ids', { ...smallFolder('sd1'), 'vocab.json': '{"a": "b"}' }, 'ERR_FILE_FORMAT', /vocab\.json'.*token ids/],
    ['no pairs', { ...smallFolder('sd1'), 'merges.txt': 'a b c\n' }, 'ERR_FILE_FORMAT', /two parts .*merges\.txt', found 'a b c'/],
    ['another kind', { ...smallFolder('sd1'), 'tokenizer_config.json': '{"tokenizer_class": "T5Tokenizer"}' }, 'ERR_FILE_FORMAT', /Expected a CLIPTokenizer in .*, found a T5Tokenizer/],
    ['no special token', { ...smallFolder('sd1'), 'special_tokens_map.json': '{"pad_token": "<pad>"}', 'tokenizer_config.json': '{}' }, 'ERR_FILE_FORMAT', /special token '<pad>'/],
    ['other rules', json({ 'tokenizer.json': { ...whole, normalizer: { type: 'NFKC' } } }), 'ERR_FILE_FORMAT', /CLIP's rules .*tokenizer\.json/],
  ];
  for (const [name, files, code, message] of cases) {
    const folder = t.testdir(files);
    const error = await thrown(() => loadTokenizer(folder));
    t.match(error, { code, message }, name);
    t.notMatch(error.message, /\n/, `${name}: one line`);
  }
});

t.test('ids equal transformers’ on a small vocabulary', async (t) => {
  for (const kind of ['sd1', 'sd2']) t.test(kind, async (t) => check(t, t.testdir(smallFolder(kind)), small[kind] as Kind));
  t.test('tokenizer.json, as transformers saves it', async (t) => check(t, t.testdir(json(saved)), small['sd2'] as Kind));
});

const source = dataFile('weights/clip-tokenizer');
const skip = existsSync(source) ? false : `no ${source}; SEEDBED_DATA names the folder of test data`;

t.test('ids equal transformers’ on CLIP’s vocabulary', { skip }, async (t) => {
  for (const [kind, expected] of Object.entries(clip)) {
    t.test(kind, async (t) => {
      const folder = t.testdir();
      await mkdir(folder, { recursive: true });
      for (const name of ['vocab.json', 'merges.txt']) await cp(join(source, name), join(folder, name));
      for (const [name, content] of Object.entries(expected.files)) await writeFile(join(folder, name), JSON.stringify(content));
      await check(t, folder, expected);
    });
  }
});

t.test('a shorter context cuts earlier', async (t) => {
  const files = small['sd1']?.files ?? {};
  const tokenizer = await loadTokenizer(t.testdir({ ...smallFolder('sd1'), ...json({ 'tokenizer_config.json': { ...(files['tokenizer_config.json'] as object), model_max_length: 5 } }) }));
  const { ids } = tokenizer.encode('a photo of');
  t.same(tokenizer.encode('a photo of the cat'), { ids, truncated: 'the cat' });
  t.equal(ids.length, 5);
  t.equal(ids[0], tokenizer.bosId);
  t.equal(ids[4], tokenizer.eosId);
});
