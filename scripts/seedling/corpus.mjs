// Makes the seedling's corpus: installs the art, draws up every picture and caption, paints them.
//
//   node scripts/seedling/corpus.mjs --work FOLDER [--variants 16] [--photos 3000] [--limit CONCEPTS] [--seed 0] [--threads 2] [--captions]
//
// The result is FOLDER/corpus (scripts/seedling/README.md says what is in it), the same bytes on every run. With --captions only the
// descriptions are written anew: for a change to words that leaves the pictures as they are. About 120,000
// pictures, 1.5 GB, in ten minutes on two cores. Needs the compiled package (`npm test` or scripts/bootstrap.mjs).

import { closeSync, ftruncateSync, mkdirSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { once } from 'node:events';
import { setPriority } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { STYLES, TRAINED } from './captions.mjs';
import { listConcepts } from './concepts.mjs';
import { DRAWING, readDrawing, VENDORS } from './drawings.mjs';
import { factsOf } from './facts.mjs';
import { CLASSES, readFashion } from './fashion.mjs';
import { install, PACKAGES } from './packages.mjs';
import { planSets } from './plan.mjs';
import { hash } from './random.mjs';
import { heldOutConcepts, splitOf } from './splits.mjs';
import { makeTextures, TEXTURES } from './textures.mjs';
import { PICTURE_BYTES, PIXELS } from './variations.mjs';

const NICE = 10;

const { values } = parseArgs({
  options: {
    work: { type: 'string' },
    variants: { type: 'string', default: '16' },
    photos: { type: 'string', default: '3000' },
    limit: { type: 'string' },
    seed: { type: 'string', default: '0' },
    threads: { type: 'string', default: '2' },
    captions: { type: 'boolean', default: false },
  },
});
if (values.work === undefined) throw new Error('Expected --work FOLDER for packages and the corpus');
const [variants, photosPerClass, limit, seed, threads] = [values.variants, values.photos, values.limit ?? 'Infinity', values.seed, values.threads].map(Number);
setPriority(NICE);

/** Bytes that workers read without a copy. */
function shared(bytes) {
  const view = new Uint8Array(new SharedArrayBuffer(bytes.length));
  view.set(bytes);
  return view;
}

/** Every vendor's drawings one after the other, premultiplied, and where each is. */
async function loadDrawings(packages, concepts) {
  const size = DRAWING * DRAWING * 4;
  const sources = Object.entries(VENDORS).flatMap(([style, { open }]) => {
    const find = open(packages);
    return concepts.map((concept) => ({ key: `${style}/${concept.id}`, source: find(concept) })).filter(({ source }) => source !== undefined);
  });
  const pixels = new Uint8Array(new SharedArrayBuffer(sources.length * size));
  const drawings = new Map();
  for (const { key, source } of sources) {
    const read = await readDrawing(source);
    if (read === undefined) continue;
    const index = drawings.size;
    const own = pixels.subarray(index * size, (index + 1) * size);
    for (let i = 0; i < size; i++) own[i] = i % 4 === 3 ? read[i] : Math.round((read[i] * read[i | 3]) / 255);
    drawings.set(key, { index, facts: factsOf({ pixels: own, side: DRAWING }) });
  }
  return { pixels, drawings };
}

/** The pictures of one set, by `threads` workers that each write every so many of them. */
async function paintSet(folder, entries, data) {
  const path = join(folder, 'pictures.u8');
  const file = openSync(path, 'w');
  ftruncateSync(file, entries.length * PICTURE_BYTES);
  closeSync(file);
  const jobs = entries.map(({ drawing, photo, captions: _captions, ...variation }, index) => ({ index, drawing, photo, variation }));
  const workers = Array.from({ length: threads }, (_, t) => new Worker(new URL('painter.mjs', import.meta.url), { workerData: { ...data, path, jobs: jobs.filter(({ index }) => index % threads === t) } }));
  await Promise.all(workers.map((worker) => once(worker, 'exit')));
}

function writeEntries(folder, entries) {
  mkdirSync(folder, { recursive: true });
  const file = openSync(join(folder, 'entries.jsonl'), 'w');
  for (const { drawing: _drawing, ...entry } of entries) writeSync(file, `${JSON.stringify(entry)}\n`);
  closeSync(file);
}

const { packages, fashion: fashionFolder } = install(values.work);
const all = listConcepts(packages);
const heldOut = heldOutConcepts(all);
const concepts = Number.isFinite(limit) ? [...all].sort((a, b) => hash(a.id) - hash(b.id)).slice(0, limit) : all;
console.log(`${concepts.length} concepts, ${concepts.filter(({ id }) => heldOut.has(id)).length} of them held out`);

const { pixels, drawings } = await loadDrawings(packages, concepts);
console.log(`${drawings.size} drawings: ${Object.keys(VENDORS).map((style) => `${style} ${[...drawings.keys()].filter((key) => key.startsWith(`${style}/`)).length}`).join(', ')}`);

const fashion = { train: readFashion(fashionFolder, 'train'), test: readFashion(fashionFolder, 't10k') };
const photos = shared(Buffer.concat([fashion.train.pictures, fashion.test.pictures]));
const textures = shared(await makeTextures(seed));
const sets = planSets({ concepts, heldOut, drawings, styles: TRAINED, variants, textures: TEXTURES, seed, fashion, photosPerClass, photosHeldOut: Math.min(1000, photosPerClass), photosTest: Math.min(1000, photosPerClass) });

const vendorsOf = (id, styles) => styles.filter((style) => drawings.has(`${style}/${id}`));
const described = concepts.map((concept) => {
  const trained = vendorsOf(concept.id, TRAINED);
  const heldOutStyle = trained.find((style) => splitOf(concept, style, trained, heldOut) === 'heldout-pairs') ?? null;
  return { ...concept, styles: vendorsOf(concept.id, Object.keys(VENDORS)), heldOut: heldOut.has(concept.id), heldOutStyle };
});
const photographed = CLASSES.map(({ heldOut: kept = false, ...concept }) => ({ ...concept, styles: ['photo'], heldOut: kept, heldOutStyle: null }));

const corpus = join(values.work, 'corpus');
if (!values.captions) rmSync(corpus, { recursive: true, force: true });
for (const [name, entries] of Object.entries(sets)) writeEntries(join(corpus, name), entries);
writeFileSync(join(corpus, 'concepts.json'), `${JSON.stringify([...described, ...photographed], null, 1)}\n`);
for (const [name, entries] of Object.entries(values.captions ? {} : sets)) {
  const begun = Date.now();
  await paintSet(join(corpus, name), entries, { drawings: pixels, textures, photos });
  console.log(`${name}: ${entries.length} pictures, ${((Date.now() - begun) / 1000).toFixed(0)} s`);
}

// Last, so that its presence says that everything is there.
const counts = Object.fromEntries(Object.entries(sets).map(([name, entries]) => [name, entries.length]));
writeFileSync(join(corpus, 'corpus.json'), `${JSON.stringify({ pixels: PIXELS, channels: 3, seed, variants, photosPerClass, styles: STYLES, trainedStyles: TRAINED, sets: counts, packages: PACKAGES }, null, 1)}\n`);
