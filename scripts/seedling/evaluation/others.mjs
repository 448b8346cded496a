// Figures that need a network of their own: names of photos, words for pictures; and how near pictures are to those that were learnt from.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Dataset, loadClassifier, loadClip, metrics, nearest, retrieval, trainClassifier } from '../../../dist/lib/index.js';
import { baseCaption, TRAINED } from '../captions.mjs';
import { isPlain } from '../sets.mjs';
import { PIXELS } from '../variations.mjs';
import { percent } from './measures.mjs';
import { halved, imagesOf, pictureAt } from './pictures.mjs';

const SMALL = 32; // pixels of the classifier's pictures
const QUARTER = 16; // pixels of those that are compared with everything that was learnt from

const small = (picture) => ({ data: halved(picture), width: SMALL, height: SMALL, channels: 3 });

/** A classifier of the photographed things that training saw, learnt from real photos only; kept in `work`. */
export async function photoClassifier({ sets }, { work, threads, quick, say }) {
  const steps = quick ? 300 : 1500;
  const folder = join(work, `photo-classifier-${steps}`);
  if (existsSync(join(folder, 'config.json'))) return loadClassifier(folder);
  const { entries, picture } = sets.train;
  const photos = [...entries.keys()].filter((i) => entries[i].style === 'photo' && entries[i].ground !== 'white' && isPlain(entries[i]));
  const classes = [...new Set(photos.map((i) => entries[i].concept))].sort();
  const train = new Dataset({ name: 'photos', classes, entries: photos.map((i) => ({ key: String(i), label: classes.indexOf(entries[i].concept), read: () => Promise.resolve(small(picture(i))) })) });
  const run = trainClassifier({ init: 'fractal-vit-nano', train, steps, batchSize: 64, lr: 1e-3, augment: { scale: [0.6, 1] }, ...threads });
  for await (const event of run) if (event.type === 'step' && event.step % 100 === 0) say(`classifier: step ${event.step} of ${steps}, loss ${event.loss.toFixed(3)}`);
  const classifier = await run;
  await classifier.save(folder);
  return classifier;
}

/** Whether the classifier names pictures as they were asked for; beside it, real photos it never saw. */
export async function photoRow(classifier, { requests, made, corpus: { sets }, most, threads, target }) {
  const named = async (pictures, concepts) => (await classifier.predict(pictures.map(small), threads)).filter(({ className }, i) => className === concepts[i]).length;
  const test = sets['fashion-test'];
  const real = [...test.entries.keys()].filter((i) => classifier.classes.includes(test.entries[i].concept) && test.entries[i].ground !== 'white').filter((_, k, all) => k % Math.ceil(all.length / most) === 0);
  const realRight = await named(real.map((i) => test.picture(i)), real.map((i) => test.entries[i].concept));
  const right = await named(requests.map((_, i) => pictureAt(made, i)), requests.map(({ concept }) => concept));
  const share = right / requests.length;
  const range = metrics.wilson(right, requests.length);
  return {
    part: 'Photos', figure: `named right by a classifier of real photos (${classifier.classes.length} things)`, value: `${percent(share)} (${(100 * range.low).toFixed(0)}–${(100 * range.high).toFixed(0)})`, number: share,
    beside: percent(realRight / real.length), besideMeans: `${real.length} real test photos`, target: `≥ ${percent(target)}`, reached: share >= target, count: requests.length, seeds: `${requests[0].seed}–${requests.at(-1).seed}`,
  };
}

/** How often the dual encoder finds a Twemoji's words among those of all trained concepts; a concept's words are the mean of its captions in the styles that were learnt. */
export async function wordsRows({ clip: folder, corpus: { drawings, concepts }, threads, most, target }) {
  const clip = await loadClip(folder);
  const trained = drawings.twemoji.filter(({ concept }) => !concepts.get(concept).heldOut);
  const texts = meanOf(await Promise.all(TRAINED.map((style) => clip.encodeTexts(trained.map(({ concept }) => baseCaption(style, concepts.get(concept)))))));
  const shown = trained.slice(0, most);
  const pictures = await clip.encodeImages(shown.map(({ picture }) => ({ data: picture, width: PIXELS, height: PIXELS, channels: 3 })), threads);
  clip.dispose();
  const found = await retrieval(pictures, texts, shown.map((_, i) => i), { metric: 'cosine', ...threads });
  return ['top1', 'top5'].map((name) => ({
    part: 'Dual encoder', figure: `words of a Twemoji among those of ${trained.length} trained concepts (each the mean of its captions in ${TRAINED.length} styles): ${name === 'top1' ? 'top-1' : 'top-5'}`, value: `${percent(found[name])} (${(100 * found[`${name}Interval`].low).toFixed(0)}–${(100 * found[`${name}Interval`].high).toFixed(0)})`,
    number: found[name], ...(name === 'top5' && { target: `≥ ${percent(target)}`, reached: found.top5 >= target }), count: shown.length, seeds: '',
  }));
}

/** Mean of embeddings, each brought to length 1. */
function meanOf(sets) {
  const [{ shape }] = sets;
  const data = new Float32Array(shape[0] * shape[1]);
  for (const { data: values } of sets)
    for (let at = 0; at < data.length; at += shape[1]) {
      const row = values.subarray(at, at + shape[1]);
      const length = Math.hypot(...row);
      for (const [j, value] of row.entries()) data[at + j] += value / length / sets.length;
    }
  return { data, shape, dtype: 'float32' };
}

const quartered = (picture) => halved(halved(picture), SMALL);

function pooled(pictures) {
  const width = QUARTER * QUARTER * 3;
  const data = new Float32Array(pictures.length * width);
  for (const [i, picture] of pictures.entries()) data.set(quartered(picture), i * width);
  return { data, shape: [pictures.length, width], dtype: 'float32' };
}

/**
 * Distance to the nearest of all training pictures, in 16 x 16 colours, over the distance of training pictures of the same kind to theirs, themselves left
 * out: far below 1 would be copies.
 */
export async function memoryRow({ requests, made, corpus: { sets }, likeIndices, threads, say }) {
  const { entries, read } = sets.train;
  const queries = pooled([...requests.map((_, i) => pictureAt(made, i)), ...likeIndices.map((i) => sets.train.picture(i))]);
  const best = new Float64Array(queries.shape[0]).fill(Infinity);
  const own = new Map(likeIndices.map((i, k) => [requests.length + k, i]));
  const PART = 8192;
  for (let first = 0; first < entries.length; first += PART) {
    const part = read(first, Math.min(PART, entries.length - first));
    const { places, distances } = await nearest(queries, pooled(imagesOf(part).map(({ data }) => data)), { k: 2, ...threads });
    for (let q = 0; q < best.length; q++) {
      const at = first + Number(places.data[2 * q]) === own.get(q) ? 2 * q + 1 : 2 * q;
      best[q] = Math.min(best[q], distances.data[at]);
    }
    say(`nearest training picture: ${Math.min(entries.length, first + PART)} of ${entries.length}`);
  }
  const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
  const ratio = median(best.subarray(0, requests.length)) / median(best.subarray(requests.length));
  return { part: 'Memorisation', figure: `variations not trained: distance to the nearest of ${entries.length} training pictures, over that of training pictures to theirs (medians)`, value: ratio.toFixed(2), number: ratio, beside: '1', besideMeans: 'training pictures', count: requests.length, seeds: 'as above' };
}
