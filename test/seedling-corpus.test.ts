import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { loadTokenizer } from '#lib/diffusion/tokenizer.js';
import { packageRoot } from '#lib/setup/find.js';
import { golden } from './support.js';

type Random = () => number;
interface Concept {
  id: string;
  name: string;
  kind: string;
  synonyms: string[];
  tags: string[];
  category: string[];
  subgroup: string;
}
interface Variation {
  count: number;
  size?: string;
  place?: string;
  tilt?: string;
  mirrored?: boolean;
  upsideDown?: boolean;
  ground?: string;
  background?: { type: string; names: string[]; colours: number[][]; period: number; texture?: number };
  boxes: number[][];
}

/** A script's module: plain JavaScript, described here as far as it is tested. */
async function script<Module>(name: string): Promise<Module> {
  return (await import(join(packageRoot, 'scripts', 'seedling', `${name}.mjs`))) as Module;
}
const words = await script<{ article: (name: string) => string; plural: (name: string) => string; kindOf: (name: string) => string; nounPhrase: (name: string, kind: string, form?: { count?: number; size?: string }) => string }>('words');
const { nameOf } = await script<{ nameOf: (label: string, subgroup: string) => string }>('concepts');
const { randomOf } = await script<{ randomOf: (text: string) => Random }>('random');
const { captionsOf, baseCaption } = await script<{ captionsOf: (entry: { style: string; concept: Concept; variation: Variation }, random: Random) => string[]; baseCaption: (style: string, concept: Concept) => string }>('captions');
const { drawVariation, plainVariation } = await script<{ drawVariation: (random: Random, facts: object) => Variation; plainVariation: () => Variation }>('variations');
const splits = await script<{ heldOutConcepts: (concepts: Concept[]) => Set<string>; splitOf: (concept: Concept, style: string, styles: string[], heldOut: Set<string>) => string }>('splits');
const { paintPicture } = await script<{ paintPicture: (variation: Variation, drawing: { pixels: Uint8Array; side: number }) => Uint8Array }>('painting');
const bpe = await script<{ wordsOf: (text: string) => string[]; symbolsOf: (word: string) => string[]; trainMerges: (counts: Map<string, number>, size: number) => string[]; vocabularyOf: (merges: string[]) => Record<string, number>; makeEncoder: (merges: string[]) => (text: string) => string[] }>('bpe');

const concept = (name: string, rest: Partial<Concept> = {}): Concept => ({ id: name, name, kind: words.kindOf(name), synonyms: [], tags: [], category: [], subgroup: 'x', ...rest });

t.test('plurals are made at the head of a name', async (t) => {
  const cases: [string, string][] = [
    ['duck', 'ducks'],
    ['strawberry', 'strawberries'],
    ['monkey', 'monkeys'],
    ['box', 'boxes'],
    ['church', 'churches'],
    ['bus', 'buses'],
    ['goose', 'geese'],
    ['maple leaf', 'maple leaves'],
    ['tropical fish', 'tropical fish'],
    ['person', 'people'],
    ['man in a tuxedo', 'men in a tuxedo'],
    ['woman playing water polo', 'women playing water polo'],
    ['person raising a hand', 'people raising a hand'],
    ['face with tears of joy', 'faces with tears of joy'],
    ['star of David', 'stars of David'],
    ['smiling cat with heart-eyes', 'smiling cats with heart-eyes'],
    ['right arrow curving up', 'right arrows curving up'],
    ['running shoe', 'running shoes'],
    ['clock at two o\'clock', 'clocks at two o\'clock'],
    ['no one under eighteen sign', 'no one under eighteen signs'],
    ['office building', 'office buildings'],
    ['superhero', 'superheroes'],
  ];
  for (const [one, many] of cases) t.equal(words.plural(one), many);
});

t.test('articles, numbers and kinds of names', async (t) => {
  for (const name of ['duck', 'unicorn', 'ewe', 'UFO', 'euro', 'one-piece swimsuit', 'no entry sign', 'DVD', 't-shirt', 'TV']) t.equal(words.article(name), 'a', name);
  for (const name of ['apple', 'umbrella', 'hourglass', 'x-ray', 'ATM sign', 'ID card', 'OK hand', 'orange', 'unamused face']) t.equal(words.article(name), 'an', name);
  const phrases: [string, { count?: number; size?: string }, string][] = [
    ['duck', {}, 'a duck'],
    ['duck', { count: 3 }, 'three ducks'],
    ['owl', { size: 'small' }, 'a small owl'],
    ['owl', { count: 2, size: 'large' }, 'two large owls'],
    ['jeans', {}, 'a pair of jeans'],
    ['jeans', { count: 4 }, 'four pairs of jeans'],
    ['bread', {}, 'bread'],
    ['bread', { size: 'small' }, 'small bread'],
    ['the Milky Way', {}, 'the Milky Way'],
    ['Santa Claus', {}, 'Santa Claus'],
    ['sunset', {}, 'a sunset'],
  ];
  for (const [name, form, expected] of phrases) t.equal(words.nounPhrase(name, words.kindOf(name), form), expected);
  t.equal(words.kindOf('bow and arrow'), 'single', 'two things together are not counted');
});

t.test('labels become what people say', async (t) => {
  const cases: [string, string, string][] = [
    ['automobile', 'transport-ground', 'car'],
    ['three o’clock', 'time', "clock at three o'clock"],
    ['woman: red hair', 'person', 'woman with red hair'],
    ['man astronaut', 'person-role', 'male astronaut'],
    ['woman in tuxedo', 'person-role', 'woman in a tuxedo'],
    ['pregnant man', 'person-role', 'pregnant man'],
    ['Leo', 'zodiac', 'Leo sign'],
    ['strawberry', 'food-fruit', 'strawberry'],
  ];
  for (const [label, subgroup, name] of cases) t.equal(nameOf(label, subgroup), name);
});

t.test('captions begin with the base template and name every variation', async (t) => {
  const duck = concept('duck', { category: ['animal', 'bird'], synonyms: ['mallard'], tags: ['pond'] });
  const say = (style: string, variation: Partial<Variation>, of = duck): string[] => captionsOf({ style, concept: of, variation: { ...plainVariation(), ...variation } }, randomOf('captions'));
  const first: [string, Partial<Variation>, string][] = [
    ['3d', {}, 'a 3D render of a duck'],
    ['flat', { count: 3 }, 'a flat drawing of three ducks'],
    ['noto', { size: 'small', tilt: 'left' }, 'a glossy cartoon of a small duck tilted to the left'],
    ['blob', { place: 'left', mirrored: true }, 'a blob emoji of a duck mirrored on the left'],
    ['3d', { place: 'top right' }, 'a 3D render of a duck in the top right corner'],
    ['3d', { place: 'bottom', upsideDown: true }, 'a 3D render of a duck upside down at the bottom'],
    ['3d', { background: { type: 'plain', names: ['orange'], colours: [], period: 9 } }, 'a 3D render of a duck on an orange background'],
    ['3d', { background: { type: 'gradient', names: ['red', 'light blue'], colours: [], period: 9 } }, 'a 3D render of a duck on a gradient from red to light blue'],
    ['3d', { background: { type: 'striped', names: ['red', 'white'], colours: [], period: 9 } }, 'a 3D render of a duck on a red and white striped background'],
    ['3d', { background: { type: 'fractal', names: ['blue'], colours: [], period: 9 } }, 'a 3D render of a duck on a blue fractal background'],
  ];
  for (const [style, variation, expected] of first) t.equal(say(style, variation)[0], expected);
  t.equal(say('photo', { ground: 'black' }, concept('ankle boot'))[0], 'a grey photo of an ankle boot on black');
  t.equal(baseCaption('3d', duck), say('3d', {})[0]);

  const all = say('noto', { count: 2, tilt: 'right', background: { type: 'plain', names: ['red'], colours: [], period: 9 } });
  t.equal(all.length, 4);
  for (const caption of all) t.match(caption, /two (ducks|mallards).*tilted to the right.*on a red background/);
  t.match(all[2], /, (animals|birds|pond),/);
  t.match(all[3], /two mallards/);
  t.notMatch(captionsOf({ style: '3d', concept: concept('grinning face', { category: ['face'] }), variation: plainVariation() }, randomOf('x')).join(), /, a face/, 'no "a grinning face, a face"');
});

t.test('variations: named, inside the frame, the same for the same seed', async (t) => {
  const facts = { countable: true, tilts: true, mirrors: true, turns: true, textures: 4, standsOut: () => true };
  const seen = new Set<string>();
  for (let i = 0; i < 500; i++) {
    const variation = drawVariation(randomOf(`v/${i}`), facts);
    t.same(variation, drawVariation(randomOf(`v/${i}`), facts));
    t.equal(variation.boxes.length, variation.count);
    const { boxes, count, ...named } = variation;
    t.ok(count > 1 || Object.keys(named).length > 0, 'differs from the plain picture');
    for (const key of Object.keys(named)) seen.add(key);
    for (const [x = NaN, y = NaN, size = NaN, angle = NaN] of boxes) {
      const half = (size * (Math.abs(Math.cos(angle)) + Math.abs(Math.sin(angle)))) / 2;
      if (variation.size !== 'large') t.ok(Math.min(x, y) - half > -0.1 && Math.max(x, y) + half < 64.1, 'not cut by the frame');
      if (variation.place?.includes('left')) t.ok(x < 24);
      if (variation.place?.includes('bottom')) t.ok(y > 40);
    }
  }
  t.same([...seen].sort(), ['background', 'mirrored', 'place', 'size', 'tilt', 'upsideDown']);
  const still = { ...facts, countable: false, tilts: false, mirrors: false, turns: false };
  for (let i = 0; i < 200; i++) {
    const { count, tilt, mirrored, upsideDown } = drawVariation(randomOf(`v/${i}`), still);
    t.same([count, tilt, mirrored, upsideDown], [1, undefined, undefined, undefined]);
  }
});

t.test('splits: 5 % of the concepts and about 5 % of the pairs, each concept left in two styles', async (t) => {
  const concepts = Array.from({ length: 1200 }, (_, i) => concept(`thing ${i}`, { subgroup: `group ${Math.floor(i / 60)}` }));
  const heldOut = splits.heldOutConcepts(concepts);
  t.equal(heldOut.size, 60);
  for (let group = 0; group < 20; group++) t.equal(concepts.filter((c) => c.subgroup === `group ${group}` && heldOut.has(c.id)).length, 3, 'spread over the groups');
  t.same(splits.heldOutConcepts([...concepts].reverse()).size, 60);

  const styles = ['a', 'b', 'c', 'd'];
  let pairs = 0;
  for (const c of concepts) {
    const found = styles.map((style) => splits.splitOf(c, style, styles, heldOut));
    if (heldOut.has(c.id)) t.same(new Set(found), new Set(['heldout-concepts']));
    else t.ok(found.filter((split) => split === 'train').length >= 3);
    pairs += found.filter((split) => split === 'heldout-pairs').length;
    t.notOk(['a', 'b'].some((style) => splits.splitOf(c, style, ['a', 'b'], heldOut) === 'heldout-pairs'), 'two styles: both stay');
  }
  t.ok(pairs > 0.035 * 1140 * 4 && pairs < 0.065 * 1140 * 4, `${pairs} pairs`);
});

/** An opaque square, red on its left half and blue on its right. */
function flag(side: number): { pixels: Uint8Array; side: number } {
  const pixels = new Uint8Array(side * side * 4);
  for (let i = 0; i < side * side; i++) pixels.set(i % side < side / 2 ? [255, 0, 0, 255] : [0, 0, 255, 255], i * 4);
  return { pixels, side };
}

t.test('pictures show what their variation says', async (t) => {
  const at = (variation: Variation, x: number, y: number): number[] => [...paintPicture(variation, flag(128)).subarray((y * 64 + x) * 3, (y * 64 + x) * 3 + 3)];
  const [red, blue, white] = [[255, 0, 0], [0, 0, 255], [255, 255, 255]];
  const plain: Variation = { count: 1, boxes: [[32, 32, 32, 0]] };
  t.same([at(plain, 24, 32), at(plain, 40, 32), at(plain, 12, 32), at(plain, 32, 52)], [red, blue, white, white]);
  t.same(at({ ...plain, mirrored: true }, 24, 32), blue);
  t.same(at({ ...plain, upsideDown: true }, 24, 32), blue);
  const quarter: Variation = { count: 1, boxes: [[32, 32, 32, Math.PI / 2]] };
  t.same([at(quarter, 32, 24), at(quarter, 32, 40)], [red, blue], 'clockwise: the left becomes the top');
  t.same([at({ count: 1, boxes: [[16, 16, 20, 0]] }, 11, 16), at({ count: 1, boxes: [[16, 16, 20, 0]] }, 32, 32)], [red, white]);
  const coloured: Variation = { ...plain, background: { type: 'gradient', names: [], colours: [[10, 20, 30], [100, 20, 30]], period: 9 } };
  t.same([at(coloured, 3, 0), at(coloured, 3, 63), at(coloured, 24, 32)], [[10, 20, 30], [100, 20, 30], red]);
  t.same(at({ ...plain, ground: 'black' }, 3, 3), [0, 0, 0]);
});

t.test('byte pairs on a toy text', async (t) => {
  t.same(bpe.wordsOf("A 3D  t-shirt, it's"), ['a', '3', 'd', 't', '-', 'shirt', ',', 'it', "'s"]);
  t.same(bpe.symbolsOf('ñb'), ['Ã', '±', 'b</w>']);
  // Pairs: "w e" 2 + 6, then "l o" 5 + 2, then of four pairs that occur 6 times the alphabetically first, "e we", and again.
  const merges = bpe.trainMerges(new Map([['low', 5], ['lower', 2], ['newest', 6]]), 514 + 4);
  t.same(merges, ['w e', 'l o', 'e we', 'ewe s']);
  const full = bpe.trainMerges(new Map([['low', 5], ['lower', 2]]), 1000);
  t.same(bpe.makeEncoder(full)('Low LOWER'), ['low</w>', 'lower</w>'], 'stops when every word is one token');
  const vocabulary = bpe.vocabularyOf(full);
  t.same([vocabulary['!'], vocabulary['a'], vocabulary['!</w>'], vocabulary['<|endoftext|>']], [0, 64, 256, 512 + full.length + 1]);
});

t.test('the shipped vocabulary encodes as transformers does', async (t) => {
  const folder = join(packageRoot, 'models', 'seedling', 'tokenizer');
  const merges = readFileSync(join(folder, 'merges.txt'), 'utf8').trim().split('\n').slice(1);
  const [encode, vocabulary, tokenizer] = [bpe.makeEncoder(merges), bpe.vocabularyOf(merges), await loadTokenizer(folder)];
  const { length, cases } = golden('seedling-tokenizer') as { length: number; cases: { text: string; ids: number[] }[] };
  t.same(JSON.parse(readFileSync(join(folder, 'vocab.json'), 'utf8')), vocabulary);
  t.equal(tokenizer.length, length);
  for (const { text, ids } of cases) {
    t.same(tokenizer.encode(text).ids.slice(1, Math.min(ids.length, length - 2) + 1), ids.slice(0, length - 2), text);
    t.same(encode(text).map((token) => vocabulary[token]), ids, `the trainer's own encoder: ${text}`);
  }
  t.ok((cases[0]?.ids.length ?? 99) <= 7, 'the words of "a 3D render of a strawberry" are single tokens');
});

const packages = process.env['SEEDBED_CORPUS'];
const skip = packages !== undefined && existsSync(join(packages, 'packages')) ? false : 'SEEDBED_CORPUS names a --work folder of scripts/seedling/corpus.mjs';

t.test('same bytes on every run, whatever the threads', { skip, timeout: 300_000 }, async (t) => {
  const made = [];
  const folder = t.testdir();
  for (const threads of ['1', '2']) {
    const work = join(folder, threads);
    mkdirSync(work, { recursive: true });
    for (const name of ['packages', 'fashion']) await promisify(execFile)('ln', ['-s', join(packages ?? '', name), join(work, name)]);
    await promisify(execFile)(process.execPath, [join(packageRoot, 'scripts/seedling/corpus.mjs'), '--work', work, '--limit', '4', '--variants', '4', '--photos', '2', '--threads', threads]);
    made.push(['train/pictures.u8', 'train/entries.jsonl', 'twemoji/pictures.u8', 'concepts.json'].map((name) => readFileSync(join(work, 'corpus', name))));
  }
  t.same(made[0], made[1]);
});
