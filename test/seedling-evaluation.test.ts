import { join } from 'node:path';
import t from 'tap';
import { packageRoot } from '#lib/setup/find.js';

type Colour = readonly [number, number, number];
interface Entry {
  style: string;
  concept: string;
  count?: number;
  place?: string;
  tilt?: string;
  background?: { type: string; names: string[] };
}
interface Measure {
  measure: (picture: Uint8Array) => string | number;
  asked: (entry: Entry) => string | number;
}
interface Block {
  data: Uint8Array;
  count: number;
}

/** A script's module: plain JavaScript, described here as far as it is tested. */
async function script<Module>(name: string): Promise<Module> {
  return (await import(join(packageRoot, 'scripts', 'seedling', 'evaluation', `${name}.mjs`))) as Module;
}
const { backgroundOf, sideOf, countOf } = await script<{ backgroundOf: (picture: Uint8Array) => string; sideOf: (picture: Uint8Array) => string; countOf: (picture: Uint8Array) => number }>('obedience');
const { MEASURES } = await script<{ MEASURES: Record<string, Measure> }>('obedience');
const { kindOf, trainedConcepts, obedience } = await script<{
  kindOf: (entry: Entry, isWhole: () => boolean) => string | undefined;
  trainedConcepts: (drawings: object, style: string, most?: number) => { concept: string; seed: number }[];
  obedience: (corpus: object, most: number) => Record<string, { style: string; concept: string; caption: string; seed: number; place?: string }[]>;
}>('questions');
const { halved, joined, pictureAt } = await script<{ halved: (picture: Uint8Array) => Uint8Array; joined: (pictures: Uint8Array[]) => Block; pictureAt: (block: Block, i: number) => Uint8Array }>('pictures');
const { psnrs, asSeen } = await script<{ psnrs: (a: Block, b: Block) => number[]; asSeen: (features: { data: Float32Array; shape: number[]; dtype: string }) => { data: Float32Array } }>('measures');

const WHITE: Colour = [255, 255, 255];
const RED: Colour = [222, 40, 50];

/** Squares [left, top, side] of one colour on another. */
function painted(background: Colour, squares: readonly (readonly [number, number, number])[], colour: Colour = [40, 90, 210]): Uint8Array {
  const picture = new Uint8Array(64 * 64 * 3);
  for (let i = 0; i < picture.length; i++) {
    const [x, y] = [Math.floor(i / 3) % 64, Math.floor(i / 192)];
    const inside = squares.some(([left, top, side]) => x >= left && x < left + side && y >= top && y < top + side);
    picture[i] = (inside ? colour : background)[i % 3] ?? 0;
  }
  return picture;
}

t.test('simple measures see background, side and number', (t) => {
  t.equal(backgroundOf(painted(WHITE, [[10, 10, 40]])), 'white');
  t.equal(backgroundOf(painted(RED, [[10, 10, 40]])), 'red');
  t.equal(backgroundOf(painted(RED, [[-10, 0, 40]])), 'red', 'also where the thing covers part of the border');
  const sides: [string, readonly [number, number, number]][] = [['left', [1, 17, 30]], ['right', [33, 17, 30]], ['top', [17, 1, 30]], ['bottom', [17, 33, 30]], ['middle', [15, 18, 30]]];
  for (const [side, square] of sides) {
    t.equal(sideOf(painted(WHITE, [square])), side);
    t.equal(sideOf(painted(RED, [square])), side, `${side} on red`);
  }
  t.equal(sideOf(painted(WHITE, [])), 'middle', 'of nothing');
  t.equal(countOf(painted(WHITE, [])), 0);
  t.equal(countOf(painted(WHITE, [[2, 2, 20], [40, 2, 20], [20, 40, 18]])), 3);
  t.equal(countOf(painted(WHITE, [[2, 2, 20], [22, 22, 20]])), 1, 'corners that touch are one part');
  t.equal(countOf(painted(WHITE, [[2, 2, 30], [50, 50, 3]])), 1, 'a crumb is not counted');
  t.end();
});

t.test('questions', (t) => {
  const plain: Entry = { style: 'noto', concept: 'duck', count: 1 };
  const always = (): boolean => true;
  const cases: [Entry, string | undefined][] = [
    [plain, undefined],
    [{ ...plain, background: { type: 'plain', names: ['red'] } }, 'background'],
    [{ ...plain, background: { type: 'striped', names: ['red', 'white'] } }, undefined],
    [{ ...plain, place: 'left' }, 'side'],
    [{ ...plain, place: 'top left' }, undefined],
    [{ ...plain, place: 'left', background: { type: 'plain', names: ['red'] } }, undefined],
    [{ ...plain, count: 3 }, 'count'],
    [{ ...plain, count: 3, tilt: 'left' }, undefined],
    [{ ...plain, style: 'photo', count: 3 }, undefined],
  ];
  for (const [entry, kind] of cases) t.equal(kindOf(entry, always), kind, JSON.stringify(entry));
  t.equal(kindOf({ ...plain, count: 3 }, () => false), undefined, 'a drawing of several parts is not counted');
  t.equal(MEASURES['side']?.asked({ ...plain, place: 'left' }), 'left');

  const whole = painted(WHITE, [[10, 10, 40]]);
  const drawings = Object.fromEntries(['3d', 'noto', 'flat', 'blob'].map((style) => [style, ['duck', 'goose', 'swan'].map((concept) => ({ style, concept, set: concept === 'swan' ? 'heldout-concepts' : 'train', caption: `${style} ${concept}`, picture: whole }))]));
  const all = trainedConcepts(drawings, 'noto');
  t.same(all.map(({ concept }) => concept).sort(), ['duck', 'goose'], 'held-out concepts are not asked for');
  t.same(trainedConcepts(drawings, 'noto', 1), all.slice(0, 1), 'fewer are the first of all');
  const seeds = all.map(({ seed }) => seed);
  t.equal(seeds[1], (seeds[0] ?? 0) + 1);
  const entries = [
    { ...plain, place: 'left', captions: ['a glossy cartoon of a duck on the left'] },
    { ...plain, style: '3d', place: 'left', captions: ['a 3D render of a duck on the left'] },
    { ...plain, style: 'flat', place: 'left', captions: ['a flat drawing of a duck on the left'] },
    { ...plain, concept: 'swan', place: 'left', captions: ['a glossy cartoon of a swan on the left'] },
  ];
  const asked = obedience({ sets: { train: { entries } }, drawings, concepts: new Map([['duck', { name: 'duck' }], ['swan', { name: 'swan' }]]) }, 10);
  t.same(asked['side']?.map(({ style, concept, caption, place }) => [style, concept, caption, place]), [['blob', 'duck', 'a blob emoji of a duck on the left', 'left']], 'only what training did not hold, once');
  t.same([asked['background'], asked['count']], [[], []]);
  t.end();
});

t.test('blocks of pictures', (t) => {
  const [a, b] = [painted(WHITE, [[0, 0, 32]], [0, 0, 0]), painted(RED, [])];
  const block = joined([a, b]);
  t.equal(block.count, 2);
  t.same(pictureAt(block, 1), b);
  const half = halved(a);
  t.equal(half.length, 32 * 32 * 3);
  t.same([half[0], half[15 * 3], half[16 * 3], half[31 * 3]], [0, 0, 255, 255]);
  t.same(psnrs(joined([a, b]), joined([a, b])), [100, 100]);
  const darker = a.map((value) => Math.max(0, value - 5));
  const share = 0.75; // of the pixels changed, by 5
  t.ok(Math.abs((psnrs(joined([a]), joined([darker]))[0] ?? 0) - 10 * Math.log10(255 ** 2 / (share * 25))) < 1e-9);
  t.end();
});

t.test('features as they are compared', (t) => {
  const { data } = asSeen({ data: Float32Array.of(9, 16, 0, 0, 0, 0, 0, 4), shape: [2, 4], dtype: 'float32' });
  t.same([...data].map((value) => Math.round(value * 1e4) / 1e4), [1.2, 1.6, 0, 0, 0, 0, 0, 2], 'square roots 3, 4 and 2, brought to the length 2');
  t.end();
});
