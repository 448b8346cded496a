import t from 'tap';
import { Dataset, fractals, onePFrac, pretrainOnFractals, trainClassifier, type FractalPicture, type Ifs, type OnePFracOptions, type PretrainOnFractalsOptions } from 'seedbed';
import { thrown } from './support.js';

const RENDER = { size: 70, points: 4000, padding: 3 } as const; // not a whole number of words a row
const TRAIN = { model: 'vit_micro_patch4_32', steps: 6, batchSize: 6, lr: 1e-3, seed: 3, threads: 1, augment: { scale: [0.5, 1], flip: 0.5 } } as const;

const systems = [1, 2, 3].map((seed) => fractals.sample({ seed }));
const classes = systems.map((system) => fractals.instances(system, { patterns: 1, flips: ['none', 'both'], seed: 5 }).slice(0, 4));

async function lossesOf(options: Partial<PretrainOnFractalsOptions> = {}): Promise<readonly number[]> {
  using backbone = await pretrainOnFractals({ classes, render: RENDER, ...TRAIN, ...options });
  return backbone.training?.losses ?? [];
}

t.test('bad inputs', async (t) => {
  const cases: [string, Partial<PretrainOnFractalsOptions>, RegExp][] = [
    ['one class', { classes: classes.slice(0, 1) }, /for classes/],
    ['a class without pictures', { classes: [...classes, []] }, /classes/],
    ['no system', { classes: [[{} as Ifs], ...classes] }, /for classes\.0\.0/],
    ['a system that cannot be', { classes: [[{ affine: fractals.sample().affine, weights: [1] }], ...classes] }, /weights/],
    ['fresh pictures without random patches', { storage: 'fresh', render: { ...RENDER, mask: 'fill' } }, /Expected draw 'patch' and mask 'random', or a freshDelta, with fresh pictures/],
    ['fresh points', { storage: 'fresh', render: { ...RENDER, draw: 'point' } }, /with fresh pictures/],
    ['kept pictures of fresh systems', { freshDelta: 0.02 }, /Expected storage 'fresh' with freshDelta/],
    ['a freshDelta above 1', { storage: 'fresh', freshDelta: 1.5 }, /for freshDelta/],
    ['a picture that is all padding', { render: { size: 64, padding: 40 } }, /padding/],
  ];
  for (const [title, options, message] of cases) t.match(await thrown(() => lossesOf(options)), { code: 'ERR_INVALID_ARGUMENT', message }, title);
});

t.test('pictures drawn on demand are those that are kept, and those that are rendered to be looked at', async (t) => {
  const kept = await lossesOf();
  t.same(await lossesOf({ storage: 'onDemand' }), kept);
  t.same(await lossesOf({ threads: 2 }), kept);

  const all = classes.flatMap((pictures, label) => pictures.map((picture) => ({ ...picture, label })));
  const rendered = await fractals.render(all.map(({ ifs }) => ifs), { ...RENDER, textureSeeds: all.map(({ textureSeed }) => textureSeed), flips: all.map(({ flip }) => flip) });
  const entries = all.map(({ label }, i) => ({ key: `${i}`, label, read: () => Promise.resolve(fractals.image(rendered, i)) }));
  using classifier = await trainClassifier({ train: new Dataset({ name: 'rendered', classes: ['a', 'b', 'c'], entries }), ...TRAIN });
  t.same(classifier.training?.losses, kept, 'as pictures of a data set');
});

t.test('fresh pictures begin as the others and differ from the second pass on', async (t) => {
  const passes = Math.ceil((TRAIN.steps * TRAIN.batchSize) / classes.flat().length);
  t.ok(passes >= 2);
  const [kept, fresh] = [await lossesOf({ storage: 'onDemand' }), await lossesOf({ storage: 'fresh' })];
  const first = Math.floor(classes.flat().length / TRAIN.batchSize);
  t.same(fresh.slice(0, first), kept.slice(0, first));
  t.not(fresh[first], kept[first]);
  t.same(await lossesOf({ storage: 'fresh', threads: 2 }), fresh, 'by seed, whatever the threads');
});

t.test('fresh systems: solid pictures differ from the second pass on', async (t) => {
  const render = { ...RENDER, mask: 'fill' } as const; // no patches that could differ
  const first = Math.floor(classes.flat().length / TRAIN.batchSize);
  const [kept, fresh] = [await lossesOf({ render, storage: 'onDemand' }), await lossesOf({ render, storage: 'fresh', freshDelta: 0.05 })];
  t.same(fresh.slice(0, first), kept.slice(0, first));
  t.not(fresh[first], kept[first]);
  t.same(await lossesOf({ render, storage: 'fresh', freshDelta: 0.05, threads: 2 }), fresh, 'by seed, whatever the threads');
  t.same(await lossesOf({ render, storage: 'fresh', freshDelta: 1e-9 }), kept, 'a perturbation too small to move a pixel changes nothing');
});

t.test('a fresh system that can hardly be seen is not shown', async (t) => {
  const line: Ifs = { affine: [[[0.5, 0, 0], [0, 0, 0]], [[0.5, 0, 0.5], [0, 0, 0]]], weights: [0.5, 0.5] }; // one row of pixels, 4 % with its patches, however its numbers are scaled
  const lines = { classes: [[line], [{ ...line, weights: [0.25, 0.75] }]], render: { ...RENDER, mask: 'fill' } as const };
  t.same(await lossesOf({ ...lines, storage: 'fresh', freshDelta: 0.5 }), await lossesOf({ ...lines, storage: 'onDemand' }));
});

t.test('systems without instances have patches by their place', async (t) => {
  const plain: FractalPicture[][] = systems.map((ifs) => [ifs]);
  const named: FractalPicture[][] = systems.map((ifs, i) => [{ ifs, textureSeed: BigInt(i), flip: 'none' }]);
  t.same(await lossesOf({ classes: plain }), await lossesOf({ classes: named }));
});

t.test('one fractal: storage changes no picture, fresh ones the patches, or the systems too', async (t) => {
  const options: OnePFracOptions = { ...TRAIN, ...RENDER, count: 3, mixup: false, dropPath: 0, augment: {}, warmupSteps: 0 };
  const run = async (more: OnePFracOptions): Promise<readonly number[]> => {
    const { backbone, losses } = await onePFrac({ ...options, ...more });
    backbone.dispose();
    return losses;
  };
  const kept = await run({});
  t.same(await run({ storage: 'onDemand' }), kept);
  const fresh = await run({ storage: 'fresh' });
  t.notSame(fresh, kept);
  t.ok(fresh.every(Number.isFinite));
  const systems = await run({ storage: 'fresh', freshDelta: 0.02 });
  t.notSame(systems, fresh);
});
