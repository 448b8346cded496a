// The figures, each a row `{ part, figure, value, beside, target, reached, count, seeds }` of the table. `beside` is the same measure on real pictures.

import { frechetDistance, kernelDistance, metrics, nearest, precisionRecall, retrieval } from '../../../dist/lib/index.js';
import { rowsOf } from './judging.mjs';
import { MEASURES } from './obedience.mjs';
import { joined, pictureAt } from './pictures.mjs';
import { kindOf, wholeDrawings } from './questions.mjs';

export const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;
const whole = (share) => Math.abs(100 * share).toFixed(0); // a bound of nothing is -0
const interval = ({ low, high }) => `${whole(low)}–${whole(high)}`;
const withInterval = (share, range) => `${percent(share)} (${interval(range)})`;
const seedsOf = (requests) => `${requests[0].seed}–${requests.at(-1).seed}`;
const goal = (value, target) => ({ target: `≥ ${percent(target)}`, reached: value >= target });

/**
 * Square roots of the features (means of numbers of 0 and more), each row brought to the length sqrt(D): the products of the kernel are cosines then, and the
 * nearest is that with the smallest angle. Of eight ways tried the one by which most real Noto drawings are found from Twemoji's.
 */
export function asSeen({ data, shape, dtype }) {
  const [count, width] = shape;
  const out = data.map((value) => Math.sqrt(Math.max(0, value)));
  for (let i = 0; i < count; i++) {
    const row = out.subarray(i * width, (i + 1) * width);
    const scale = Math.sqrt(width / Math.max(1e-12, row.reduce((sum, value) => sum + value * value, 0)));
    for (let j = 0; j < width; j++) row[j] *= scale;
  }
  return { data: out, shape, dtype };
}

/** What all measures need: the judge's features of every real plain drawing by style, and where each concept lies among them. */
export async function openGalleries({ drawings }, judge, threads, styles, say) {
  const galleries = {};
  for (const style of styles) {
    const features = asSeen(await judge.features(joined(drawings[style].map(({ picture }) => picture))));
    galleries[style] = { features, places: new Map(drawings[style].map(({ concept }, i) => [concept, i])) };
    say(`features of ${drawings[style].length} real drawings: ${style}`);
  }
  /** Whether each picture of `block` is nearest to the drawing of `style` that was asked for. */
  const find = async (requests, block, styleOf = ({ style }) => style) => {
    const features = asSeen(await judge.features(block));
    const ranks = new Array(requests.length);
    for (const style of new Set(requests.map(styleOf))) {
      const places = [...requests.keys()].filter((i) => styleOf(requests[i]) === style && galleries[style].places.has(requests[i].concept));
      const wanted = places.map((i) => galleries[style].places.get(requests[i].concept));
      const found = await retrieval(rowsOf(features, places), galleries[style].features, wanted, threads);
      for (const [k, i] of places.entries()) ranks[i] = found.ranks[k];
    }
    return ranks.filter((rank) => rank !== undefined);
  };
  return { galleries, find };
}

function shares(ranks) {
  return [1, 5].map((most) => {
    const found = ranks.filter((rank) => rank <= most).length;
    return { mean: found / ranks.length, ...metrics.wilson(found, ranks.length) };
  });
}

/** Rows of top-1 and top-5. */
export async function retrievalRows(part, name, { requests, made, besides, find, targets = [] }) {
  const own = shares(await find(requests, made));
  const beside = besides && shares(await find(besides.requests, besides.block));
  return [1, 5].map((most, i) => ({
    part,
    figure: `${name}: top-${most}`,
    value: withInterval(own[i].mean, own[i]),
    number: own[i].mean,
    ...(beside && { beside: percent(beside[i].mean), besideMeans: besides.means }),
    ...(targets[i] !== undefined && goal(own[i].mean, targets[i])),
    count: requests.length,
    seeds: seedsOf(requests),
  }));
}

/** In which style the nearest of the concept's own real drawings is. */
export async function styleRow({ name, requests, made, besides, galleries, judge, threads }) {
  const inAskedStyle = async (asked, block) => {
    const features = asSeen(await judge.features(block));
    const right = await Promise.all(asked.map(async ({ style, concept }, i) => {
      const own = Object.entries(galleries).flatMap(([name, { features: all, places }]) => (places.has(concept) ? [[name, rowsOf(all, [places.get(concept)])]] : []));
      const { places } = await nearest(rowsOf(features, [i]), stacked(own.map(([, row]) => row)), threads);
      return own[Number(places.data[0])][0] === style;
    }));
    return right.filter(Boolean).length;
  };
  const right = await inAskedStyle(requests, made);
  const realRight = await inAskedStyle(besides.requests, besides.block);
  return {
    part: 'Style', figure: `${name}: of the real drawings of the concept, one in each style it has (up to five), the nearest is in the asked style`, value: withInterval(right / requests.length, metrics.wilson(right, requests.length)),
    number: right / requests.length, beside: percent(realRight / besides.requests.length), besideMeans: besides.means, count: requests.length, seeds: 'as above',
  };
}

/** How often the nearest of all real drawings, whoever drew them, is one of the asked concept; at most `within` less often than `besides`. */
export async function conceptRow({ name, requests, made, besides, within, galleries, judge, threads }) {
  const all = Object.values(galleries);
  const gallery = stacked(all.map(({ features }) => features));
  const concepts = all.flatMap(({ places }) => [...places].sort(([, a], [, b]) => a - b).map(([concept]) => concept));
  const named = async (asked, block) => {
    const { places } = await nearest(asSeen(await judge.features(block)), gallery, threads);
    return asked.filter(({ concept }, i) => concepts[Number(places.data[i])] === concept).length;
  };
  const right = await named(requests, made);
  const share = right / requests.length;
  const beside = (await named(besides.requests, besides.block)) / besides.requests.length;
  return {
    figure: `${name}: the nearest of all ${concepts.length} real drawings, of any style, is one of the asked concept`, value: withInterval(share, metrics.wilson(right, requests.length)), number: share,
    beside: percent(beside), besideMeans: besides.means, ...goal(share, beside - within), count: requests.length, seeds: 'as above',
  };
}

/** Sets of features as one. */
const stacked = (sets) => {
  const [, width] = sets[0].shape;
  const data = new Float32Array(sets.reduce((sum, { shape }) => sum + shape[0], 0) * width);
  let at = 0;
  for (const set of sets) {
    data.set(set.data, at);
    at += set.data.length;
  }
  return { data, shape: [data.length / width, width], dtype: 'float32' };
};

/** Distances to art that training did not see; `others` are sets of real pictures of the same size, for comparison: name → block. */
export async function distanceRows({ requests, made, art, others, judge, threads }) {
  const seen = asSeen(await judge.features(art));
  const measured = async (block) => {
    const features = asSeen(await judge.features(block));
    return {
      frechet: await frechetDistance(features, seen, threads),
      kernel: await kernelDistance(features, seen, threads),
      manifold: await precisionRecall(seen, features, { k: 5, ...threads }),
    };
  };
  const own = await measured(made);
  const beside = await Promise.all(Object.entries(others).map(async ([name, block]) => [name, await measured(block)]));
  const list = (show) => beside.map(([name, values]) => `${show(values)} (${name})`).join(', ');
  const kernel = ({ kernel: { distance, standardError } }) => `${(1000 * distance).toFixed(1)} ± ${(1000 * standardError).toFixed(1)}`;
  const rows = {
    'Fréchet distance': ({ frechet }) => frechet.toFixed(1),
    'kernel distance x 1000 (degree 3, ± standard error)': kernel,
    'precision (k = 5)': ({ manifold }) => percent(manifold.precision),
    'recall (k = 5)': ({ manifold }) => percent(manifold.recall),
  };
  return Object.entries(rows).map(([figure, show]) => ({ part: 'Distance to held-out art', figure, value: show(own), beside: list(show), count: requests.length, seeds: 'as above' }));
}

/** How often the picture shows what was asked, by the measures of obedience.mjs; beside it, on the corpus' own pictures with such a variation. */
export function obedienceRow(kind, { requests, made, corpus: { sets, drawings }, most, target }) {
  const { measure, asked } = MEASURES[kind];
  const isWhole = wholeDrawings(drawings);
  const { entries, picture } = sets.train;
  const real = [...entries.keys()].filter((i) => kindOf(entries[i], isWhole) === kind).slice(0, most);
  const realRight = real.filter((i) => measure(picture(i)) === asked(entries[i])).length;
  const right = requests.filter((request, i) => measure(pictureAt(made, i)) === asked(request)).length;
  const share = right / requests.length;
  return {
    part: 'Obedience', figure: { background: 'background colour', side: 'side (left, right, top, bottom)', count: 'number (two, three, four)' }[kind], value: withInterval(share, metrics.wilson(right, requests.length)), number: share,
    beside: percent(realRight / real.length), besideMeans: `${real.length} real pictures`, ...(target !== undefined && goal(share, target)), count: requests.length, seeds: seedsOf(requests),
  };
}

/** Peak signal-to-noise ratio of each picture in decibels; equal pictures count as 100. */
export function psnrs(a, b) {
  return Array.from({ length: a.count }, (_, i) => {
    const [x, y] = [pictureAt(a, i), pictureAt(b, i)];
    let error = 0;
    for (let j = 0; j < x.length; j++) error += (x[j] - y[j]) ** 2;
    return error === 0 ? 100 : 10 * Math.log10(255 ** 2 / (error / x.length));
  });
}
