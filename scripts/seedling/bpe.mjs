// Byte-pair encoding in CLIP's form: bytes as letters, `</w>` at a word's end.

/** CLIP's words: endings after an apostrophe, runs of letters, single digits, runs of anything else. */
const WORD = /'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+/gu;
const END = '</w>';
export const SPECIAL = ['<|startoftext|>', '<|endoftext|>'];

/** A letter for each byte, in the order of the vocabulary: those that can be printed are their own, the others follow. */
export function byteLetters() {
  const printable = [...range(33, 126), ...range(161, 172), ...range(174, 255)];
  const letters = new Map(printable.map((byte) => [byte, String.fromCodePoint(byte)]));
  for (const byte of range(0, 255)) if (!letters.has(byte)) letters.set(byte, String.fromCodePoint(256 + letters.size - printable.length));
  return letters;
}

function range(first, last) {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

const LETTERS = byteLetters();

export const wordsOf = (text) => text.normalize('NFC').replace(/\s+/gu, ' ').toLowerCase().match(WORD) ?? [];

/** A word as the symbols that merging starts from. */
export function symbolsOf(word) {
  const symbols = [...Buffer.from(word, 'utf8')].map((byte) => LETTERS.get(byte));
  symbols[symbols.length - 1] += END;
  return symbols;
}

function merged(symbols, left, right) {
  const result = [];
  for (let i = 0; i < symbols.length; i++) {
    if (symbols[i] === left && symbols[i + 1] === right) result.push(left + symbols[++i]);
    else result.push(symbols[i]);
  }
  return result;
}

/**
 * The merges that join the most frequent pairs of `counts` (word → how often), until the vocabulary has `size` tokens or
 * every word is one. Of equally frequent pairs the alphabetically first.
 */
export function trainMerges(counts, size) {
  const words = [...counts].map(([word, count]) => ({ symbols: symbolsOf(word), count }));
  const merges = [];
  while (2 * LETTERS.size + merges.length + SPECIAL.length < size) {
    const pairs = new Map();
    for (const { symbols, count } of words)
      for (let i = 0; i + 1 < symbols.length; i++) {
        const pair = `${symbols[i]} ${symbols[i + 1]}`;
        pairs.set(pair, (pairs.get(pair) ?? 0) + count);
      }
    let best;
    for (const [pair, count] of pairs) if (best === undefined || count > best.count || (count === best.count && pair < best.pair)) best = { pair, count };
    if (best === undefined) break;
    const [left, right] = best.pair.split(' ');
    for (const word of words) if (word.symbols.includes(left)) word.symbols = merged(word.symbols, left, right);
    merges.push(best.pair);
  }
  return merges;
}

/** Token → id: bytes, bytes at a word's end, merges in their order, the special tokens last. */
export function vocabularyOf(merges) {
  const letters = [...LETTERS.values()];
  const tokens = [...letters, ...letters.map((letter) => letter + END), ...merges.map((pair) => pair.replace(' ', '')), ...SPECIAL];
  return Object.fromEntries(tokens.map((token, id) => [token, id]));
}

/** Tokens of a text by the merges' ranks: the plain algorithm, to count with. */
export function makeEncoder(merges) {
  const ranks = new Map(merges.map((pair, rank) => [pair, rank]));
  const known = new Map();
  const encodeWord = (word) => {
    let symbols = symbolsOf(word);
    for (;;) {
      let best = Infinity;
      for (let i = 0; i + 1 < symbols.length; i++) best = Math.min(best, ranks.get(`${symbols[i]} ${symbols[i + 1]}`) ?? Infinity);
      if (best === Infinity) return symbols;
      symbols = merged(symbols, ...merges[best].split(' '));
    }
  };
  return (text) =>
    wordsOf(text).flatMap((word) => {
      if (!known.has(word)) known.set(word, encodeWord(word));
      return known.get(word);
    });
}
