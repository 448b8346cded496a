// Whether pre-training on formulas alone helps a small network that then learns from few photographs: writes docs/evidence-fractals.md.
//
//   node scripts/evidence-fractal.mjs --work FOLDER [--fashion FOLDER] [--photos FOLDER] [--net resnet_nano_32,vit_nano_patch4_32] [--data fashion,clothing,cifar10] [--shots 4,16,64] [--seeds 5] [--arms scratch,1p-frac,FractalDB,shipped] [--updates 15000] [--table] [--threads N]
//
// Two backbones of each network, with as many updates in the same steps of difficulty: one learns to tell perturbed copies of one system apart (1p-frac), one systems (FractalDB's). Then few-shot training from random weights, from each of them and,
// where the package ships another of that network, from that. --fashion has the IDX files of Debian's dataset-fashion-mnist, --photos clothing-{train,val}.tar and cifar10-{train,val}.tar; sets that are not there are left out.
// A run that was stopped goes on, several may work in one folder on different networks, data or arms (an arm's figures do not depend on which others are measured), and --table only writes the tables of what is there; rows are kept beside the document.

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { fewShotStudy, metrics, openDataset } from '../dist/lib/index.js';
import { missingOf, openPhotos, PHOTOS } from './evidence/photos.mjs';
import { digestOf, percent, Rows, spread, table } from './evidence/rows.mjs';
import { KINDS, PRETRAIN, pretrained, recipeOf, STAGES } from './fractals/pretraining.mjs';

const { values } = parseArgs({
  options: {
    work: { type: 'string' }, fashion: { type: 'string', default: '/usr/share/datasets/fashion-mnist' }, photos: { type: 'string', default: '.' }, net: { type: 'string', default: 'resnet_nano_32,vit_nano_patch4_32' },
    data: { type: 'string', default: 'fashion,clothing,cifar10' }, shots: { type: 'string', default: '4,16,64' }, seeds: { type: 'string', default: '5' }, arms: { type: 'string', default: 'scratch,1p-frac,FractalDB,shipped' }, updates: { type: 'string', default: '15000' }, out: { type: 'string', default: 'docs/evidence-fractals.md' },
    table: { type: 'boolean', default: false }, threads: { type: 'string' },
  },
});
if (values.work === undefined) throw new Error('Expected --work FOLDER');
const results = new Rows(values.work, values.out);
const threads = values.threads === undefined ? {} : { threads: Number(values.threads) };

/** Shipped backbones of another making than those here, and those that are the ones here. */
const SHIPPED = { vit_nano_patch4_32: 'fractal-vit-nano' };
const SHIPPED_FROM_HERE = { resnet_nano_32: { name: 'fractal-resnet-nano', kind: 'FractalDB' } };

const TRAIN = { batchSize: 32, lr: 1e-3, minLr: 1e-6, labelSmoothing: 0.1, clipNorm: 1, augment: { scale: [0.5, 1], flip: 0.5 } };
const UPDATES = { 4: 300, 16: 400, 64: 600 };
const updatesOf = (shots) => UPDATES[shots] ?? 300;
const [SCRATCH, SHIPPED_ARM] = ['scratch', 'shipped'];
const ARMS = [SCRATCH, ...Object.keys(KINDS), SHIPPED_ARM];
const POOL = 1000; // pictures of a class that shots are drawn from
const MOST_TEST = 150; // of a class

const updates = Number(values.updates);

const SOURCES = {
  fashion: {
    title: 'Fashion-MNIST, its official test part',
    missing: () => (existsSync(values.fashion) ? undefined : values.fashion),
    open: async () => ({ pool: (await openDataset(values.fashion)).firstOfEach(POOL), test: (await openDataset(values.fashion, { part: 'test' })).firstOfEach(MOST_TEST) }),
  },
  ...Object.fromEntries(Object.entries(PHOTOS).map(([name, { title }]) => [name, { title, missing: () => missingOf(values.photos, name), open: () => openPhotos(values.photos, name, MOST_TEST) }])),
};

async function measure() {
  for (const net of values.net.split(','))
    for (const arm of values.arms.split(',').filter((name) => name !== SHIPPED_ARM || SHIPPED[net] !== undefined)) {
      const start = await startOf(net, arm);
      const settings = digestOf({ pretraining: recipeOf(updates), TRAIN, UPDATES, POOL, MOST_TEST, net });
      const begun = arm === SHIPPED_ARM ? { start: digestOf(shippedOf(net)) } : {};
      for (const data of values.data.split(',')) {
        const { missing, open } = SOURCES[data];
        if (missing() !== undefined) {
          console.log(`${data} is left out: there is no '${missing()}'`);
          continue;
        }
        const { pool, test } = await open();
        for (const shots of values.shots.split(',').map(Number)) {
          const steps = updatesOf(shots);
          for (let seed = 0; seed < Number(values.seeds); seed++) {
            const row = { data: `${net}: ${data}`, arm, ...begun, shots, seed, settings };
            if (results.has(row)) continue;
            const { arms, testPictures } = await fewShotStudy({ pool, test, shots, seeds: 1, firstSeed: seed, arms: [{ name: arm, ...start }], train: { ...TRAIN, steps, warmupSteps: Math.round(steps / 10), ...threads } });
            const [{ runs: [run] }] = arms;
            results.add({ ...row, test: testPictures, updates, accuracy: run.accuracy, seconds: run.seconds });
          }
        }
      }
    }
}

/** Where the classifiers of an arm begin. */
async function startOf(net, arm) {
  if (arm === SCRATCH) return { train: { model: net } };
  if (arm === SHIPPED_ARM) return { init: SHIPPED[net] };
  return { init: (await pretrained({ work: values.work, net, kind: arm, updates, threads })).folder };
}

/** What the shipped backbone of a network has seen. */
const shippedOf = (net) => (SHIPPED[net] === undefined ? undefined : JSON.parse(readFileSync(join('models', SHIPPED[net], 'training.json'), 'utf8')));

function section(net, data, rows) {
  const all = rows.filter((row) => row.data === `${net}: ${data}`);
  const own = all.filter(({ settings }) => settings === all.find(({ arm }) => arm === SCRATCH)?.settings);
  if (own.length === 0) return [];
  const arms = ARMS.filter((name) => own.some(({ arm }) => arm === name));
  const lines = [...new Set(own.map(({ shots }) => shots))].sort((a, b) => a - b).map((shots) => {
    const found = (name) => new Map(own.filter((row) => row.shots === shots && row.arm === name).map(({ seed, accuracy }) => [seed, accuracy]));
    const scratch = found(SCRATCH);
    const cells = arms.map(found);
    const against = cells.slice(1).map((runs) => [...runs].filter(([seed]) => scratch.has(seed)).map(([seed, accuracy]) => accuracy - scratch.get(seed)));
    return [shots, scratch.size, ...cells.map((runs) => (runs.size === 0 ? '' : percent(metrics.mean([...runs.values()])))), ...against.map((differences) => (differences.length < 2 ? '' : spread(differences)))];
  });
  return ['', `### ${SOURCES[data].title}, ${own[0].test} pictures`, '', ...table(['shots', 'seeds', ...arms, ...arms.slice(1).map((arm) => `${arm} against scratch`)], lines)];
}

function writeTable() {
  const rows = results.newest();
  const lines = ['# Evidence: pre-training on formulas', ''];
  lines.push(
    "Mean accuracy on test pictures, per cent, over seeds that each draw other shots; paired differences with Student's 95 % interval. All starts are trained alike, from shots alone, " +
      `${Object.entries(UPDATES).map(([shots, count]) => `${count} updates of ${TRAIN.batchSize} at ${shots} shots`).join(', ')}, AdamW at ${TRAIN.lr}, crops of half to all of a picture, mirrored at times. Nothing was chosen on the test part. That is a short training: with more updates random weights may well come closer, which was not measured.`,
  );
  for (const net of new Set(rows.map(({ data }) => data.split(': ')[0]))) {
    const updates = new Set(rows.filter(({ data }) => data.startsWith(`${net}: `)).map((row) => row.updates));
    const samples = [...updates].map((count) => (count * PRETRAIN.batchSize).toLocaleString('en')).join(' or ');
    lines.push('', `## ${net}`, '', `1p-frac and FractalDB: ${samples} pictures each, drawn from ${STAGES.map(({ count }) => count).join(', then ')} classes; solid patches, mostly in two random colours, seen in crops and mirrored.${shippedWords(net)}`);
    for (const data of Object.keys(SOURCES)) lines.push(...section(net, data, rows));
  }
  results.keep();
  writeFileSync(values.out, [...lines, '', '`node scripts/evidence-fractal.mjs --work FOLDER --photos FOLDER`', ''].join('\n'));
}

function shippedWords(net) {
  const from = SHIPPED_FROM_HERE[net];
  if (from !== undefined) return ` The package ships ${from.kind}'s, in half precision: \`${from.name}\`; which of them was chosen by pictures of the training parts.`;
  if (SHIPPED[net] === undefined) return '';
  const { stages } = shippedOf(net);
  const samples = stages.reduce((sum, stage) => sum + stage.samples, 0).toLocaleString('en');
  return ` Shipped: \`${SHIPPED[net]}\`, 1p-frac in ${stages.length} stages, ${samples} pictures.`;
}

if (!values.table) await measure();
writeTable();
