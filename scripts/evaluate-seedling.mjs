// Measures the seedling and writes docs/seedling.md with its pictures.
//
//   node scripts/evaluate-seedling.mjs --model FOLDER|seedling|real --corpus FOLDER/corpus [--judge FILE] [--clip FOLDER] [--quick] [--out docs/seedling.md]
//     [--work FOLDER] [--log FILE] [--steps 25] [--guidance 2] [--sampler ddim] [--dtype auto] [--threads N]
//
// `real` puts real pictures in place of generated ones: every figure must then be near its best. What was drawn and seen is kept in the work folder
// (default: `evaluation` beside the corpus), so a run that was stopped goes on. Without --judge gradients and colours stand in for the network. --log: that of the training,
// for its curves.

import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { metrics } from '../dist/lib/index.js';
import { adaptationRows } from './seedling/evaluation/adaptation.mjs';
import { writeCurves } from './seedling/evaluation/curves.mjs';
import { pageOf } from './seedling/evaluation/document.mjs';
import { openJudge } from './seedling/evaluation/judging.mjs';
import { distanceRows, obedienceRow, openGalleries, psnrs, retrievalRows, styleRow } from './seedling/evaluation/measures.mjs';
import { memoryRow, photoClassifier, photoRow, wordsRows } from './seedling/evaluation/others.mjs';
import { joined, openCorpus, pictureAt } from './seedling/evaluation/pictures.mjs';
import { fashion, heldOutPairs, kindOf, obedience, trainedConcepts } from './seedling/evaluation/questions.mjs';
import { openModel, openReal } from './seedling/evaluation/sources.mjs';
import { writeSheet } from './seedling/evaluation/sheets.mjs';
import { TRAINED } from './seedling/captions.mjs';
import { randomOf, shuffle } from './seedling/random.mjs';

const { values } = parseArgs({
  options: {
    model: { type: 'string' }, corpus: { type: 'string' }, judge: { type: 'string' }, clip: { type: 'string' }, quick: { type: 'boolean', default: false }, out: { type: 'string', default: 'docs/seedling.md' },
    work: { type: 'string' }, log: { type: 'string' }, steps: { type: 'string', default: '25' }, guidance: { type: 'string', default: '2' }, sampler: { type: 'string', default: 'ddim' }, dtype: { type: 'string', default: 'auto' }, threads: { type: 'string' },
  },
});
if (values.model === undefined || values.corpus === undefined) throw new Error('Expected --model FOLDER and --corpus FOLDER');
const { model, quick, out } = values;
const work = values.work ?? join(dirname(resolve(values.corpus)), 'evaluation');
const threads = values.threads === undefined ? {} : { threads: Number(values.threads) };
const settings = { sampler: values.sampler, steps: Number(values.steps), guidanceScale: Number(values.guidance) };
mkdirSync(work, { recursive: true });

/** Pictures of each part of the table, and real ones beside them. */
const SIZES = quick ? { trained: 128, pairs: 96, rest: 160, varied: 44, photos: 12, real: 400 } : { trained: Infinity, pairs: Infinity, rest: Infinity, varied: 220, photos: 60, real: 2000 };
const STYLES = ['3d', 'noto'];

const start = performance.now();
const say = (text) => console.log(`${((performance.now() - start) / 1000).toFixed(0).padStart(5)} s  ${text}`);
const shuffled = (name, list) => shuffle(randomOf(`evaluate/${name}`), [...list]);

const corpus = openCorpus(values.corpus);
const { drawings, concepts, sets } = corpus;
const source = model === 'real' ? openReal(corpus) : await openModel(model, { work, settings, threads, dtype: values.dtype, say });
const judge = openJudge(values.judge, work, threads);
const { galleries, find } = await openGalleries(corpus, judge, threads, [...TRAINED, 'twemoji'], say);
const drawingOf = new Map(Object.values(drawings).flat().map((drawing) => [`${drawing.style}/${drawing.concept}`, drawing]));
const realOf = ({ style, concept }) => drawingOf.get(`${style}/${concept}`).picture;
const rows = [];
const add = (...more) => {
  rows.push(...more);
  for (const { figure, value, beside = '' } of more) say(`${figure}: ${value}${beside && `, beside it ${beside}`}`);
};

// Trained concepts, in two styles; beside them the real drawings through the autoencoder, the most that pictures of this model can reach.
const trained = Object.fromEntries(STYLES.map((style) => [style, trainedConcepts(drawings, style, SIZES.trained)]));
const made = {};
for (const style of STYLES) {
  const requests = trained[style];
  made[style] = await source.pictures(requests, style);
  const sample = requests.slice(0, SIZES.real / 4);
  const rebuilt = await source.rebuilt(joined(sample.map(realOf)));
  add(...(await retrievalRows('Retrieval among all real drawings of the style', `trained concepts, ${style}`, { requests, made: made[style], find, besides: { requests: sample, block: rebuilt, means: 'real drawings through the autoencoder' }, targets: [0.8, 0.95] })));
}
const both = STYLES.flatMap((style) => trained[style]);
const bothMade = joined(STYLES.flatMap((style) => trained[style].map((_, i) => pictureAt(made[style], i))));

// Styles and concepts that training never saw together.
const pairs = heldOutPairs(drawings, SIZES.pairs);
const pairsMade = await source.pictures(pairs, 'held-out pairs');
const pairsReal = joined(pairs.map(realOf));
const rebuiltPairs = await source.rebuilt(pairsReal);
add(...(await retrievalRows('Retrieval among all real drawings of the style', 'style and concept never trained together', { requests: pairs, made: pairsMade, find, besides: { requests: pairs, block: rebuiltPairs, means: 'real drawings through the autoencoder' }, targets: [undefined, 0.5] })));

// How near another artist's drawing of the same thing comes: no model, only real art.
const stickers = drawings.twemoji.filter(({ concept }) => galleries.noto.places.has(concept)).map((drawing) => ({ ...drawing, seed: '' }));
add(...(await retrievalRows('Retrieval among all real drawings of the style', 'for comparison: real Twemoji drawings, among noto', { requests: stickers, made: joined(stickers.map(({ picture }) => picture)), find: (requests, block) => find(requests, block, () => 'noto') })).map((row) => ({ ...row, seeds: '' })));

for (const [name, requests, block] of [['trained concepts', both, bothMade], ['held-out pairs', pairs, pairsMade]]) add(await styleRow({ name, requests, made: block, besides: { requests: pairs, block: rebuiltPairs, means: 'real drawings through the autoencoder' }, galleries, judge, threads }));

// As many generated pictures as there are of held-out art, in the same shares of the styles.
const art = shuffled('art', TRAINED.flatMap((style) => drawings[style].filter(({ set }) => set.startsWith('heldout')))).slice(0, SIZES.rest);
const drawn = [];
const drawnReal = [];
for (const style of new Set(art.map(({ style }) => style))) {
  const requests = trainedConcepts(drawings, style, art.filter((drawing) => drawing.style === style).length);
  drawn.push({ requests, block: await source.pictures(requests, `sample of ${style}`) });
  // Real drawings of other concepts than those that were asked for.
  drawnReal.push(...shuffled(style, drawings[style].filter(({ set }) => set === 'train')).slice(0, requests.length).map(({ picture }) => picture));
}
const drawnRequests = drawn.flatMap(({ requests }) => requests);
const drawnMade = joined(drawn.flatMap(({ requests, block }) => requests.map((_, i) => pictureAt(block, i))));
const others = { 'real training art': joined(drawnReal), 'real Twemoji': joined(shuffled('twemoji', drawings.twemoji).slice(0, art.length).map(({ picture }) => picture)) };
add(...(await distanceRows({ requests: drawnRequests, made: drawnMade, art: joined(art.map(({ picture }) => picture)), others, judge, threads })));

// Variations.
const varied = obedience(corpus, SIZES.varied);
const variedMade = {};
for (const [kind, requests] of Object.entries(varied)) {
  variedMade[kind] = await source.pictures(requests, kind);
  add(obedienceRow(kind, { requests, made: variedMade[kind], corpus, most: SIZES.real, target: kind === 'count' ? undefined : 0.8 }));
}
const allVaried = Object.values(varied).flat();
const allVariedMade = joined(Object.entries(varied).flatMap(([kind, requests]) => requests.map((_, i) => pictureAt(variedMade[kind], i))));
const likeIndices = shuffled('memory', [...sets.train.entries.keys()].filter((i) => kindOf(sets.train.entries[i], () => true) !== undefined)).slice(0, allVaried.length);
add(await memoryRow({ requests: allVaried, made: allVariedMade, corpus, likeIndices, threads, say }));

// Photos.
const classifier = await photoClassifier(corpus, { work, threads, quick, say });
const photos = fashion(concepts, new Set(classifier.classes), SIZES.photos);
const photosMade = await source.pictures(photos, 'photos');
add(await photoRow(classifier, { requests: photos, made: photosMade, corpus, most: SIZES.real, threads, target: 0.85 }));
classifier.dispose();

// The parts.
const artBlock = joined(art.map(({ picture }) => picture));
const stickerBlock = joined(stickers.slice(0, SIZES.real / 4).map(({ picture }) => picture));
if (model !== 'real')
  for (const [name, block, target] of [['held-out art', artBlock, 31], ['Twemoji, a style never trained', stickerBlock, undefined]]) {
    const { mean, low, high } = metrics.bootstrap(psnrs(block, await source.rebuilt(block)));
    add({ part: 'Autoencoder', figure: `PSNR, ${name}`, value: `${mean.toFixed(1)} dB (${low.toFixed(1)}–${high.toFixed(1)})`, number: mean, ...(target !== undefined && { target: `≥ ${target} dB`, reached: mean >= target }), count: block.count, seeds: '' });
  }
if (values.clip !== undefined) add(...(await wordsRows({ clip: values.clip, corpus, threads, most: quick ? 256 : Infinity, target: 0.5 })));

// A style that training never saw.
if (model !== 'real') add(...(await adaptationRows({ model, corpus, galleries, judge, work, settings, threads, say })));

// Sheets: drawn by lot, not chosen.
const images = join(dirname(out), 'images');
const lot = (name, requests, block, count) => shuffled(name, [...requests.keys()]).slice(0, count).map((i) => ({ pictures: [pictureAt(block, i)], text: requests[i].caption }));
const variedLot = lot('grid/varied', allVaried, allVariedMade, 12);
const grid = [...lot('grid/3d', trained['3d'], made['3d'], 18), ...lot('grid/noto', trained.noto, made.noto, 10), ...lot('grid/rest', drawnRequests.filter(({ style }) => style === 'flat' || style === 'blob'), joined(drawnRequests.flatMap(({ style }, i) => (style === 'flat' || style === 'blob' ? [pictureAt(drawnMade, i)] : []))), 8), ...lot('grid/pairs', pairs, pairsMade, 10), ...variedLot, ...lot('grid/photos', photos, photosMade, 6)];
await writeSheet(join(images, 'seedling-grid.png'), grid, 8);
await writeSheet(join(images, 'seedling-strip.png'), ['3d', 'noto'].flatMap((style) => lot(`strip/${style}`, trained[style], made[style], 8)), 8);
const compared = [...shuffled('compared', [...both.keys()]).slice(0, 16).map((i) => ({ pictures: [realOf(both[i]), pictureAt(bothMade, i)], text: both[i].caption })), ...shuffled('compared/pairs', [...pairs.keys()]).slice(0, 16).map((i) => ({ pictures: [realOf(pairs[i]), pictureAt(pairsMade, i)], text: pairs[i].caption }))];
await writeSheet(join(images, 'seedling-real-and-generated.png'), compared, 8);

const argument = (name) => (values[name] === undefined ? '' : ` --${name} ${name === 'model' && values[name] === 'real' ? 'real' : name === 'model' ? 'FOLDER' : name === 'judge' ? 'FILE' : 'FOLDER'}`);
const curves = values.log === undefined ? [] : await writeCurves(values.log, images);
writeFileSync(out, pageOf({
  rows, quick, curves, model: source.name, judge: judge.name,
  sampler: model === 'real' ? 'none' : `${settings.sampler}, ${settings.steps} steps, guidance ${settings.guidanceScale}`,
  command: `node scripts/evaluate-seedling.mjs${argument('model')}${argument('corpus')}${argument('judge')}${argument('clip')}${quick ? ' --quick' : ''}`,
  corpus: `${sets.train.entries.length} training pictures, ${concepts.size} concepts`,
  sheets: [
    { path: 'images/seedling-grid.png', title: '64 pictures', text: 'Drawn by lot: trained concepts, styles and concepts never trained together, variations never trained, photos. Twice as large as they are.' },
    { path: 'images/seedling-real-and-generated.png', title: 'Real above, generated below', text: 'Rows one and two: trained. Rows three and four: style and concept never trained together.' },
  ],
}));
say(`wrote ${out}`);
source.dispose();
judge.dispose();
