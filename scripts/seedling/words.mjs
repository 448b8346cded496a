// Articles, plurals and number words.

import { BARE, IRREGULAR, PAIRS, SINGLE } from './tables/names.mjs';

export const NUMBERS = ['no', 'one', 'two', 'three', 'four'];

/** "an" before a vowel sound. */
export function article(words) {
  if (/^(uni[^nm]|use|us[aeu]|ewe|eu|one\b|UFO)/.test(words)) return 'a';
  return /^([aeiouAEIOU]|hour|honest|x-ray|[AEFHILMNORSX][A-Z]\b)/.test(words) ? 'an' : 'a';
}

const pluralOfWord = (word) => {
  const irregular = IRREGULAR.get(word) ?? IRREGULAR.get(word.toLowerCase());
  if (irregular !== undefined) return irregular;
  const last = word.split('-').at(-1);
  if (last !== word && IRREGULAR.has(last)) return word.slice(0, -last.length) + IRREGULAR.get(last);
  if (/[^aeiou]y$/.test(word)) return `${word.slice(0, -1)}ies`;
  if (/(s|x|z|ch|sh)$/i.test(word)) return `${word}es`;
  return `${word}s`;
};

/** What follows the head of a name: "cuts | of meat", "men | in a tuxedo", "women | walking". */
const AFTER_HEAD = /^(with|without|of|in|on|at|to|behind|from|for|over|under|and|off)$/;
const PEOPLE = /^(man|woman|person|hand|mother|leaf|globe|eye|face|airplane|head)$/;
const FOLLOWERS = /^(\w+ing|holding|levitating|raising|showing|curving|pointed|taking|landing)$/;

/** "two no one under eighteen signs": the head is at the end. */
const WHOLE = / (sign|symbol|button)$/;

/** The plural of a name, made at its head: "face with tears of joy" → "faces with tears of joy". */
export function plural(name) {
  const parts = name.split(' ');
  let head = parts.length - 1;
  for (let i = 1; i < parts.length && !WHOLE.test(name); i++) {
    const follows = AFTER_HEAD.test(parts[i]) || (FOLLOWERS.test(parts[i]) && (PEOPLE.test(parts[i - 1]) || /^(showing|curving|pointed)$/.test(parts[i])));
    if (!follows) continue;
    head = i - 1;
    break;
  }
  return [...parts.slice(0, head), pluralOfWord(parts[head]), ...parts.slice(head + 1)].join(' ');
}

/** How a name behaves: `count` (a duck, two ducks), `single` (a sunset), `bare` (bread) or `pair` (a pair of jeans). */
export function kindOf(name) {
  if (PAIRS.has(name)) return 'pair';
  if (BARE.has(name)) return 'bare';
  return SINGLE.has(name) || / and /.test(name) ? 'single' : 'count';
}

/** The name with its article or number, and a size word where one is wanted: "two small ducks", "a small pair of jeans". */
export function nounPhrase(name, kind, { count = 1, size = '' } = {}) {
  const sized = (noun) => (size === '' ? noun : `${size} ${noun}`);
  const noun = kind === 'pair' ? `pair of ${name}` : name;
  if (count > 1) return `${NUMBERS[count]} ${sized(kind === 'pair' ? `pairs of ${name}` : plural(noun))}`;
  if (kind === 'bare') return sized(name.replace(/^the /, size === '' ? 'the ' : ''));
  return `${article(sized(noun))} ${sized(noun)}`;
}
