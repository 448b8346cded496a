// The list of things that are drawn: one entry per thing, with its names and its category.

import { join } from 'node:path';
import { readJson } from './packages.mjs';
import { CATEGORIES, EXCEPTIONS } from './tables/categories.mjs';
import { LEFT_OUT, RENAMED, SYNONYMS } from './tables/names.mjs';
import { COLOURS } from './tables/colours.mjs';
import { article, kindOf, NUMBERS } from './words.mjs';

/** Text on a button, keys and flags are no drawings; skin tones are no things of their own. */
const SUBGROUPS_LEFT_OUT = new Set(['keycap', 'alphanum', 'country-flag', 'flag', 'subdivision-flag', 'skin-tone', 'hair-style']);
const PLAIN_QUOTES = /[\u2018\u2019]/g;

export const slug = (text) =>
  text
    .toLowerCase()
    .normalize('NFD')
    .replace(/[\u0300-\u036f\u2018\u2019']/g, '')
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '');

/** Labels that stay out: named ones, those of a whole family member by member, and mirror images. */
const isLeftOut = (label) => LEFT_OUT.has(label) || /^(family|kiss|couple with heart): |facing right|-thirty$/.test(label);

/** Unicode's list leaves small words out: "man in tuxedo". */
const BARE_NOUNS = [
  'turban|tuxedo|veil|white cane|motorized wheelchair|manual wheelchair|massage|haircut|ball|boat|bath|steamy room|lotus position|suit|hearing aid|bag|ribbon|baby|hand|skullcap',
  'cloud|small cloud|large cloud|rain cloud|tongue|monocle|halo|thermometer|medical mask|head-bandage|tear|raised eyebrow|peeking eye|diagonal mouth|open mouth|wry smile|arrow',
  'garden|spoon|straw|slash|umbrella|swirl|flash|check|ballot|decorative cover|handle|raised flag|lowered flag|speech bubble',
].join('|');
const WITHOUT_ARTICLE = new RegExp(`\\b(in|with|without|behind|over|wearing|getting|bouncing|tipping|rowing|taking|feeding) (${BARE_NOUNS})(?= |$)`, 'g');
const withArticles = (name) => name.replace(WITHOUT_ARTICLE, (_, before, noun) => `${before} ${article(noun)} ${noun}`).replace(/\b(on|from) (ground|mouth|nose)\b/, '$1 the $2');

/** Unicode's label as people say it. */
export function nameOf(label, subgroup) {
  const plain = label.replace(PLAIN_QUOTES, "'");
  const renamed = RENAMED.get(plain);
  if (renamed !== undefined) return renamed;
  const hair = /^(man|woman|person): (red|curly|white) hair$/.exec(plain);
  if (hair !== null) return `${hair[1]} with ${hair[2]} hair`;
  if (/o'clock$/.test(plain)) return `clock at ${plain}`;
  if (subgroup === 'zodiac') return `${plain} sign`;
  if (/^person-(role|fantasy)$/.test(subgroup) && !/ (in|with|wearing|feeding) |pregnant/.test(plain)) {
    const sexed = /^(man|woman) (.+)$/.exec(plain);
    if (sexed !== null) return `${sexed[1] === 'man' ? 'male' : 'female'} ${sexed[2]}`;
  }
  return withArticles(plain.replace(/ \(.*\)$/, '')).replace('gesturing NO', 'gesturing no').replace('gesturing OK', 'gesturing ok');
}

/** A tag that fewer things share is learnt from too few pictures. */
const SHARED = 5;

/** Words that captions use for a picture's variation. */
const SAID = new Set([...Object.keys(COLOURS), ...NUMBERS, 'white', 'small', 'large', 'left', 'right', 'top', 'bottom', 'gray', 'light', 'dark', 'not', 'size', 'big', 'medium']);
const SLANG = new Set(['ily', 'lol', 'yolo', 'omg', 'smh', 'bae', 'bff', 'bestie', 'bro', 'xoxo', 'meh', 'whatever', 'booze', 'shade', 'head', 'you']);

/** Tags that can be said beside a name: plain words that are neither part of it nor the name of another thing. */
function usefulTags(tags, name, taken, times) {
  const own = new Set(name.toLowerCase().split(/[^a-z]+/));
  return tags.filter((tag) => /^[a-z][a-z ]{2,}$/.test(tag) && !own.has(tag) && !taken.has(tag) && !SAID.has(tag) && !SLANG.has(tag) && times.get(tag) >= SHARED && tag.split(' ').length < 3).slice(0, 8);
}

/** All concepts in Unicode's order: `{ id, name, kind, synonyms, tags, category, group, subgroup, hexcode, label }`. */
export function listConcepts(packages) {
  const folder = join(packages, 'emojibase-data');
  const { groups, subgroups } = readJson(join(folder, 'meta', 'groups.json'));
  const concepts = [];
  for (const { label, hexcode, group, subgroup, tags = [] } of readJson(join(folder, 'en', 'data.json'))) {
    const sub = subgroups[subgroup];
    if (group === undefined || /flag|component/.test(groups[group]) || SUBGROUPS_LEFT_OUT.has(sub) || isLeftOut(label)) continue;
    const name = nameOf(label, sub);
    const category = EXCEPTIONS[sub]?.test(name) ? [] : CATEGORIES[sub];
    if (category === undefined) throw new Error(`Expected a category for the subgroup '${sub}' of '${label}', found none`);
    const synonym = SYNONYMS.get(name);
    concepts.push({ id: slug(name), name, kind: kindOf(name), synonyms: synonym === undefined ? [] : [synonym], tags, category, group: groups[group], subgroup: sub, hexcode: hexcode.toLowerCase(), label });
  }
  const ids = new Set(concepts.map(({ id }) => id));
  if (ids.size !== concepts.length) throw new Error(`Expected different names, found twice: ${concepts.filter((c, i) => concepts.findIndex(({ id }) => id === c.id) !== i).map(({ name }) => name)}`);
  const taken = new Set(concepts.flatMap(({ name, synonyms }) => [name, ...synonyms]).map((name) => name.toLowerCase()));
  const times = new Map();
  for (const tag of concepts.flatMap(({ tags }) => tags)) times.set(tag, (times.get(tag) ?? 0) + 1);
  for (const concept of concepts) {
    concept.tags = usefulTags(concept.tags, concept.name, taken, times);
    concept.synonyms = concept.synonyms.filter((synonym) => !ids.has(slug(synonym)));
  }
  return concepts;
}
