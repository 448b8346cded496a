// Decides on every picture of every set before one is painted.

import { captionsOf } from './captions.mjs';
import { CLASSES, indicesOf } from './fashion.mjs';
import { randomOf, shuffle } from './random.mjs';
import { splitOf } from './splits.mjs';
import { drawVariation, plainVariation } from './variations.mjs';

/** Of the trained photos: on black as they come, inverted on white, and with a variation (half on each ground). */
const PHOTO_SHARES = { plain: 0.5, inverted: 0.7 };

function entryOf(style, concept, variation, source, random) {
  return { style, concept: concept.id, ...variation, captions: captionsOf({ style, concept, variation }, random), ...source };
}

/** Sets of the drawn styles. `drawings` maps `style/id` to `{ index, facts }`; `variants` are added to each plain picture of training. */
function planDrawings({ concepts, heldOut, drawings, styles, variants, textures, seed }, sets) {
  for (const concept of concepts) {
    const own = styles.filter((style) => drawings.has(`${style}/${concept.id}`));
    for (const style of own) {
      const { index, facts } = drawings.get(`${style}/${concept.id}`);
      const split = splitOf(concept, style, own, heldOut);
      const name = `${seed}/${style}/${concept.id}`;
      const add = (variation, random) => sets[split].push(entryOf(style, concept, variation, { drawing: index }, random));
      add(plainVariation(), randomOf(name));
      const countable = concept.kind === 'count' || concept.kind === 'pair';
      for (let i = 0; split === 'train' && i < variants; i++) {
        const random = randomOf(`${name}/${i}`);
        add(drawVariation(random, { ...facts, countable, textures }), random);
      }
    }
    const kept = drawings.get(`twemoji/${concept.id}`);
    if (kept !== undefined) sets.twemoji.push(entryOf('twemoji', concept, plainVariation(), { drawing: kept.index }, randomOf(`${seed}/twemoji/${concept.id}`)));
  }
}

function photoVariation(random, concept) {
  const share = random();
  if (share < PHOTO_SHARES.plain) return { ...plainVariation(), ground: 'black' };
  if (share < PHOTO_SHARES.inverted) return { ...plainVariation(), ground: 'white' };
  const facts = { countable: false, mirrors: concept.shoe === true, turns: false, tilts: true, background: false };
  return { ...drawVariation(random, facts), ground: random() < 0.5 ? 'black' : 'white' };
}

/** Sets of photos. Indices count the training part first, then the test part. */
function planPhotos({ fashion, photosPerClass, photosHeldOut, photosTest, seed }, sets) {
  for (const concept of CLASSES) {
    const wanted = concept.heldOut ? photosHeldOut : photosPerClass;
    for (const index of indicesOf(fashion.train.labels, concept.label, wanted)) {
      const random = randomOf(`${seed}/photo/${index}`);
      const variation = concept.heldOut ? { ...plainVariation(), ground: 'black' } : photoVariation(random, concept);
      sets[concept.heldOut ? 'fashion-heldout' : 'train'].push(entryOf('photo', concept, variation, { photo: index }, random));
    }
    for (const index of indicesOf(fashion.test.labels, concept.label, photosTest))
      sets['fashion-test'].push(entryOf('photo', concept, { ...plainVariation(), ground: 'black' }, { photo: fashion.train.labels.length + index }, randomOf(`${seed}/test/${index}`)));
  }
}

/** All sets: name → entries in the order of their pictures. Training is shuffled once, so that reading in order is enough. */
export function planSets(options) {
  const sets = { train: [], 'heldout-concepts': [], 'heldout-pairs': [], twemoji: [], 'fashion-heldout': [], 'fashion-test': [] };
  planDrawings(options, sets);
  planPhotos(options, sets);
  shuffle(randomOf(`${options.seed}/order`), sets.train);
  return sets;
}
