// Says what is on a picture: its style, the thing, its category, and every difference from the plain picture.

import { UNCOUNTED } from './tables/categories.mjs';
import { pick } from './random.mjs';
import { article, kindOf, nounPhrase, plural } from './words.mjs';

/** Style → how its captions begin, and the short form that stands behind a comma. */
export const STYLES = {
  '3d': { phrase: 'a 3D render of', short: '3D render' },
  flat: { phrase: 'a flat drawing of', short: 'flat drawing' },
  noto: { phrase: 'a glossy cartoon of', short: 'glossy cartoon' },
  blob: { phrase: 'a blob emoji of', short: 'blob emoji' },
  twemoji: { phrase: 'a sticker of', short: 'sticker' },
  photo: { phrase: 'a grey photo of', short: 'grey photo' },
};

/** The drawn styles that training sees. */
export const TRAINED = ['3d', 'flat', 'noto', 'blob'];

/** With so many details a caption has no room for a category: the text encoder reads 32 tokens. */
const LONG = 3;

const colourList = (names) => names.join(' and ');

/** "a red and white striped background". */
export function backgroundPhrase({ type, names }) {
  if (type === 'plain') return `${article(names[0])} ${names[0]} background`;
  if (type === 'gradient') return `a gradient from ${names[0]} to ${names[1]}`;
  return `${article(names[0])} ${colourList(names)} ${type} background`;
}

/** "on the left", "in the top left corner", "at the top". */
export function placePhrase(place) {
  if (place.includes(' ')) return `in the ${place} corner`;
  return place === 'left' || place === 'right' ? `on the ${place}` : `at the ${place}`;
}

/** Everything but the thing itself, each in its own words. */
function details({ tilt, mirrored, upsideDown, place, background, ground }) {
  const said = [];
  if (tilt !== undefined) said.push(`tilted to the ${tilt}`);
  if (mirrored) said.push('mirrored');
  if (upsideDown) said.push('upside down');
  if (place !== undefined) said.push(placePhrase(place));
  if (ground !== undefined) said.push(`on ${ground}`);
  if (background !== undefined) said.push(`on ${backgroundPhrase(background)}`);
  return said;
}

const categoryPhrase = (category, count) => {
  if (UNCOUNTED.has(category)) return category;
  return count > 1 ? plural(category) : `${article(category)} ${category}`;
};

/** "a 3D render of a strawberry": the caption of the plain picture, and the beginning of all others' first. */
export function baseCaption(style, { name, kind }) {
  return `${STYLES[style].phrase} ${nounPhrase(name, kind)}`;
}

/**
 * Captions of a picture, the base template first, then with commas, with a category or tag, and with another name or a short
 * form. Every one names every variation. `entry` is `{ style, concept, variation }`.
 */
export function captionsOf({ style, concept, variation }, random) {
  const { phrase, short } = STYLES[style];
  const { name, kind, synonyms, tags, category } = concept;
  const form = { count: variation.count, size: variation.size };
  const thing = nounPhrase(name, kind, form);
  const said = details(variation);
  const join = (start, separator) => [start, ...said].join(separator);

  const captions = [join(`${phrase} ${thing}`, ' '), join(`${thing}, ${short}`, ', ')];
  const fresh = category.filter((word) => !name.split(' ').includes(word)); // not "a grinning face, a face"
  const kinds = [...fresh.map((word) => categoryPhrase(word, variation.count)), ...(tags.length > 0 ? [pick(random, tags)] : [])];
  if (kinds.length > 0 && said.length < LONG) captions.push(`${[`${phrase} ${thing}, ${pick(random, kinds)}`, said.join(' ')].filter((part) => part !== '').join(', ')}`);
  const synonym = synonyms.length > 0 ? pick(random, synonyms) : undefined;
  const other = synonym === undefined ? undefined : nounPhrase(synonym, kindOf(synonym), form);
  captions.push(other === undefined ? join(`${short} of ${thing}`, ' ') : join(`${phrase} ${other}`, ' '));
  const plain = said.length === 0 && variation.count === 1 && variation.size === undefined;
  if (plain) captions.push(`${phrase} ${thing} on a white background`);
  return [...new Set(captions)];
}
