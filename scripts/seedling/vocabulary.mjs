// Learns the seedling's vocabulary from the captions of its corpus and writes it in the format of CLIP's tokenizer.
//
//   node scripts/seedling/vocabulary.mjs --corpus FOLDER/corpus [--out models/seedling/tokenizer] [--size 4000] [--length 32]

import { createReadStream, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { makeEncoder, SPECIAL, trainMerges, vocabularyOf, wordsOf } from './bpe.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const { values } = parseArgs({
  options: {
    corpus: { type: 'string' },
    out: { type: 'string', default: join(root, 'models', 'seedling', 'tokenizer') },
    size: { type: 'string', default: '4000' },
    length: { type: 'string', default: '32' },
  },
});
if (values.corpus === undefined) throw new Error('Expected --corpus FOLDER, as scripts/seedling/corpus.mjs writes it');
const [size, length] = [values.size, values.length].map(Number);

/** Captions of all sets: adaptation to what is held out must not fail for want of words. */
async function readCaptions() {
  const captions = new Map();
  const sets = readdirSync(values.corpus, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  for (const { name } of sets.sort((a, b) => (a.name < b.name ? -1 : 1)))
    for await (const line of createInterface(createReadStream(join(values.corpus, name, 'entries.jsonl'))))
      for (const caption of JSON.parse(line).captions) captions.set(caption, (captions.get(caption) ?? 0) + 1);
  return captions;
}

const captions = await readCaptions();
const concepts = JSON.parse(readFileSync(join(values.corpus, 'concepts.json'), 'utf8'));
const counts = new Map();
for (const [caption, times] of captions) for (const word of wordsOf(caption)) counts.set(word, (counts.get(word) ?? 0) + times);
const merges = trainMerges(counts, size);
const encode = makeEncoder(merges);
const vocabulary = vocabularyOf(merges);

const special = (content) => ({ content, lstrip: false, normalized: true, rstrip: false, single_word: false });
const [bos, eos] = SPECIAL.map(special);
const roles = { bos_token: bos, eos_token: eos, unk_token: eos, pad_token: SPECIAL[1] };
const typed = Object.fromEntries(Object.entries(roles).map(([role, token]) => [role, typeof token === 'string' ? token : { __type: 'AddedToken', ...token }]));
const write = (name, text) => writeFileSync(join(values.out, name), text);
mkdirSync(values.out, { recursive: true });
write('vocab.json', JSON.stringify(vocabulary));
write('merges.txt', `#version: 0.2\n${merges.join('\n')}\n`);
write('special_tokens_map.json', `${JSON.stringify(roles, null, 2)}\n`);
write('tokenizer_config.json', `${JSON.stringify({ ...typed, tokenizer_class: 'CLIPTokenizer', model_max_length: length, do_lower_case: true, add_prefix_space: false, errors: 'replace' }, null, 2)}\n`);

/** How many of the values are so large: "5: 120, 6: 80". */
function histogram(list) {
  const times = new Map();
  for (const value of list) times.set(value, (times.get(value) ?? 0) + 1);
  return [...times].sort(([a], [b]) => a - b).map(([value, n]) => `${value}: ${n}`).join(', ');
}
const lengths = [...captions.keys()].map((caption) => encode(caption).length + 2);
const longest = [...captions.keys()].reduce((a, b) => (encode(a).length >= encode(b).length ? a : b));
console.log(`${Object.keys(vocabulary).length} tokens, ${merges.length} merges, from ${counts.size} words in ${captions.size} different captions`);
console.log(`tokens of a name: ${histogram(concepts.map(({ name }) => encode(name).length))}`);
console.log(`tokens of a word: ${histogram([...counts.keys()].map((word) => encode(word).length))}`);
console.log(`tokens of a caption with both ends: ${histogram(lengths)}`);
console.log(`the longest: ${longest}`);
if (encode(longest).length + 2 > length) throw new Error(`Expected captions of at most ${length} tokens, found one of ${encode(longest).length + 2}: choose a larger --length`);
