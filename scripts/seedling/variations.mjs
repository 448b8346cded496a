// What makes one picture of a thing differ from another. Each difference is named by the captions.

import { COLOURS, WANDER } from './tables/colours.mjs';
import { pick, pickWeighted, shuffle, uniform } from './random.mjs';

export const PIXELS = 64;
export const PICTURE_BYTES = PIXELS * PIXELS * 3;
const CENTRE = PIXELS / 2;

/** Pixels of a drawing's longer side. A large one is cut by the frame. */
const SIZES = { plain: [56, 56], usual: [50, 57], small: [25, 30], large: [80, 92], placed: [29, 35] };
/** Of a tilted drawing with a place, from corner to corner: more would reach the middle. */
const PLACED_WIDEST = 44;
const TILT = [18, 36]; // degrees

/** Where -1 is left or top, 1 right or bottom. */
export const PLACES = {
  left: [-1, 0],
  right: [1, 0],
  top: [0, -1],
  bottom: [0, 1],
  'top left': [-1, -1],
  'top right': [1, -1],
  'bottom left': [-1, 1],
  'bottom right': [1, 1],
};
const PLACE_WEIGHTS = { left: 3, right: 3, top: 2, bottom: 2, 'top left': 1, 'top right': 1, 'bottom left': 1, 'bottom right': 1 };

/** Centres for two, three and four of a kind, and the pixels of each. */
const LAYOUTS = {
  2: [{ size: 28, centres: [[17, 32], [47, 32]] }],
  3: [
    { size: 27, centres: [[32, 17], [17, 46], [47, 46]] },
    { size: 27, centres: [[17, 18], [47, 18], [32, 47]] },
  ],
  4: [{ size: 26, centres: [[17, 17], [47, 17], [17, 47], [47, 47]] }],
};

const HOW_MANY = { 1: 45, 2: 40, 3: 15 };
const GROUPS = ['background', 'arrangement', 'pose'];
const ARRANGEMENTS = { place: 5, count: 4, small: 2, large: 2 };
const BACKGROUNDS = { plain: 50, gradient: 18, fractal: 14, striped: 8, checkered: 5, dotted: 5 };
const TWO_COLOURED = new Set(['gradient', 'striped', 'checkered', 'dotted']);

const colour = (random, name) => COLOURS[name].map((value) => Math.round(Math.min(255, Math.max(0, value + uniform(random, -WANDER, WANDER)))));

/** Colours that the thing stands out from; undefined when none was found. */
function drawBackground(random, { standsOut, textures }) {
  const type = pickWeighted(random, BACKGROUNDS);
  for (let attempt = 0; attempt < 12; attempt++) {
    const names = shuffle(random, Object.keys(COLOURS)).slice(0, TWO_COLOURED.has(type) ? 2 : 1);
    // Patterns are a colour and white half of the time.
    if (names.length === 2 && type !== 'gradient' && random() < 0.5) names[1] = 'white';
    const colours = names.map((name) => (name === 'white' ? [255, 255, 255] : colour(random, name)));
    if (!colours.every(standsOut)) continue;
    const texture = type === 'fractal' ? Math.floor(random() * textures) : undefined;
    return { type, names, colours, period: Math.round(uniform(random, 9, 15)), ...(texture !== undefined && { texture }) };
  }
  return undefined;
}

/** Keeps a turned square of `size` inside the frame. */
function place(centre, size, angle) {
  const turned = Math.abs(Math.cos(angle)) + Math.abs(Math.sin(angle));
  const half = Math.min(CENTRE, (size * turned) / 2);
  return centre.map((value) => Math.min(PIXELS - half, Math.max(half, value)));
}

function drawArrangement(random, wanted, angle) {
  const [low, high] = SIZES[wanted.size ?? (wanted.place === undefined ? (wanted.plain ? 'plain' : 'usual') : 'placed')];
  const turned = Math.abs(Math.cos(angle)) + Math.abs(Math.sin(angle));
  if (wanted.count !== undefined) {
    const { size, centres } = pick(random, LAYOUTS[wanted.count]);
    const scaled = Math.min(size * uniform(random, 0.92, 1), 30 / turned);
    return centres.map((centre) => [...place(centre.map((value) => value + uniform(random, -1.5, 1.5)), scaled, angle), scaled]);
  }
  let size = uniform(random, low, high);
  if (wanted.size === 'large') return [[CENTRE + uniform(random, -6, 6), CENTRE + uniform(random, -6, 6), size]];
  size = Math.min(size, (wanted.place === undefined ? PIXELS - 2 : PLACED_WIDEST) / turned);
  const [right, down] = PLACES[wanted.place] ?? [0, 0];
  const reach = wanted.plain ? 0 : 3;
  const centre = [right, down].map((side) => CENTRE + side * (CENTRE - size / 2 - 1) + uniform(random, -reach, reach));
  return [[...place(centre, size, angle), size]];
}

/** The plain picture: in the middle, on white. */
export const plainVariation = () => ({ count: 1, boxes: [[CENTRE, CENTRE, SIZES.plain[0], 0]] });

/**
 * One to three differences, and the numbers that draw them: `boxes` are [x, y, size, angle] in pixels and radians, clockwise; the angle is the tilt's.
 * `facts` tell what a thing's captions and its symmetry allow.
 */
export function drawVariation(random, facts) {
  const groups = shuffle(random, [...GROUPS]).slice(0, Number(pickWeighted(random, HOW_MANY)));
  const variation = { count: 1 };
  const wanted = {};
  if (groups.includes('arrangement')) {
    const arrangement = pickWeighted(random, facts.countable ? ARRANGEMENTS : { ...ARRANGEMENTS, count: 0 });
    if (arrangement === 'place') variation.place = wanted.place = pickWeighted(random, PLACE_WEIGHTS);
    else if (arrangement === 'count') variation.count = wanted.count = Number(pickWeighted(random, { 2: 4, 3: 3, 4: 3 }));
    else variation.size = wanted.size = arrangement;
  }
  const poses = { tilt: facts.tilts ? 4 : 0, mirrored: facts.mirrors ? 3 : 0, upsideDown: facts.turns ? 2 : 0 };
  let angle = 0;
  if (groups.includes('pose') && Object.values(poses).some((weight) => weight > 0)) {
    const pose = pickWeighted(random, poses);
    if (pose === 'tilt') {
      variation.tilt = random() < 0.5 ? 'left' : 'right';
      angle = ((variation.tilt === 'left' ? -1 : 1) * uniform(random, ...TILT) * Math.PI) / 180;
    } else variation[pose] = true;
  }
  const boxes = drawArrangement(random, wanted, angle).map((box) => [...box.map((value) => Math.round(value * 100) / 100), Math.round(angle * 1e4) / 1e4]);
  const named = variation.count > 1 || Object.keys(variation).length > 1;
  const background = facts.background !== false && (groups.includes('background') || !named) ? drawBackground(random, facts) : undefined;
  if (background === undefined && !named) return plainVariation();
  return { ...variation, ...(background !== undefined && { background }), boxes };
}
