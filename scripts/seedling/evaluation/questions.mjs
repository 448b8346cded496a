// What is asked of the model: every request is `{ caption, style, concept, seed, ... }` and follows from the corpus and the numbers here.

import { STYLES, baseCaption } from '../captions.mjs';
import { randomOf, shuffle } from '../random.mjs';
import { countOf } from './obedience.mjs';

/** First seed of each part, so that parts may grow without changing others. */
const SEEDS = { '3d': 1_000_000, noto: 1_100_000, flat: 1_200_000, blob: 1_300_000, pairs: 1_400_000, obedience: 1_500_000, fashion: 1_600_000 };
const SIDES = ['left', 'right', 'top', 'bottom'];
const CONCEPT_STYLES = ['3d', 'noto', 'flat', 'blob'];
const VARIED = ['size', 'tilt', 'mirrored', 'upsideDown'];

const shuffled = (name, list) => shuffle(randomOf(`evaluation/${name}`), [...list]);
const numbered = (first, requests) => requests.map((request, i) => ({ ...request, seed: first + i }));

/** Plain pictures of the drawings of a style that training saw. */
export function trainedConcepts(drawings, style, most = Infinity) {
  const all = drawings[style].filter(({ set }) => set === 'train').map(({ concept, caption }) => ({ caption, style, concept }));
  return numbered(SEEDS[style], shuffled(style, all)).slice(0, most);
}

/** Plain pictures of a style and a concept that training saw, but never together. */
export function heldOutPairs(drawings, most = Infinity) {
  const all = CONCEPT_STYLES.flatMap((style) => drawings[style].filter(({ set }) => set === 'heldout-pairs')).map(({ style, concept, caption }) => ({ caption, style, concept }));
  return numbered(SEEDS.pairs, shuffled('pairs', all)).slice(0, most);
}

/** Which of the obedience's kinds an entry shows, and nothing else; undefined for all others. */
export function kindOf(entry, isWhole) {
  if (entry.style === 'photo' || VARIED.some((name) => entry[name] !== undefined)) return undefined;
  const { background, place, count = 1 } = entry;
  if (background !== undefined) return background.type === 'plain' && place === undefined && count === 1 ? 'background' : undefined;
  if (place !== undefined) return count === 1 && SIDES.includes(place) ? 'side' : undefined;
  return count > 1 && isWhole(entry) ? 'count' : undefined;
}

/** Whether the plain drawing is one connected part: the others cannot be counted by parts. */
export function wholeDrawings(drawings) {
  const whole = new Set(Object.values(drawings).flat().filter(({ picture }) => countOf(picture) === 1).map(({ style, concept }) => `${style}/${concept}`));
  return ({ style, concept }) => whole.has(`${style}/${concept}`);
}

const variationKey = ({ style, concept, place, count, background }) => [style, concept, place, count ?? 1, background?.names[0]].join('/');

/**
 * Variations of trained drawings that training did not hold: those of the corpus' own pictures, in a style that has none such of the concept.
 * `{ background, side, count }`.
 */
export function obedience({ sets, drawings, concepts }, most) {
  const isWhole = wholeDrawings(drawings);
  const trained = new Set(CONCEPT_STYLES.flatMap((style) => drawings[style].filter(({ set }) => set === 'train')).map(({ style, concept }) => `${style}/${concept}`));
  const { entries } = sets.train;
  const seen = new Set(entries.map(variationKey));
  const found = { background: [], side: [], count: [] };
  for (const entry of shuffled('obedience', entries)) {
    const kind = kindOf(entry, isWhole);
    if (kind === undefined || found[kind].length >= most) continue;
    const style = shuffled(`style/${variationKey(entry)}`, CONCEPT_STYLES).find((other) => {
      const asked = { ...entry, style: other };
      return trained.has(`${other}/${entry.concept}`) && !seen.has(variationKey(asked)) && (kind !== 'count' || isWhole(asked));
    });
    if (style === undefined) continue;
    const caption = entry.captions[0].replace(STYLES[entry.style].phrase, STYLES[style].phrase);
    const { concept, place, count, background } = entry;
    found[kind].push({ caption, style, concept, name: concepts.get(concept).name, place, count, background });
    seen.add(variationKey({ ...entry, style })); // once each
  }
  const kinds = Object.keys(found);
  return Object.fromEntries(kinds.map((kind, i) => [kind, numbered(SEEDS.obedience + 10_000 * i, found[kind])]));
}

/** The photographed things that training saw, `each` pictures of each, on black. */
export function fashion(concepts, trained, each) {
  const things = [...concepts.values()].filter(({ id }) => trained.has(id));
  return numbered(SEEDS.fashion, things.flatMap((thing) => Array.from({ length: each }, () => ({ caption: `${baseCaption('photo', thing)} on black`, style: 'photo', concept: thing.id }))));
}
