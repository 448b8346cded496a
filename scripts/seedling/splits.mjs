// What is kept out of training: by hashes alone, so that nobody picked it.

import { hash } from './random.mjs';

/** One concept in this many, and one style of a concept in this many. */
const CONCEPTS = 20;
const PAIRS = 20;

const byHash = (a, b) => hash(`concept/${a.id}`) - hash(`concept/${b.id}`);

/** Ids of the concepts that training never sees: every 20th of each group, and so of each part of the list. */
export function heldOutConcepts(concepts) {
  const groups = [...new Set(concepts.map(({ subgroup }) => subgroup))];
  const spread = groups.flatMap((subgroup) => concepts.filter((concept) => concept.subgroup === subgroup).sort(byHash));
  return new Set(spread.filter((_, i) => i % CONCEPTS === CONCEPTS / 2).map(({ id }) => id));
}

/** The one style in which a trained concept is left out, or undefined: it stays in at least two others. */
export function heldOutStyle(id, styles) {
  if (styles.length < 3) return undefined;
  // A concept loses a style so often that one pair in twenty goes, over those that have enough styles.
  if (hash(`pair/${id}`) % PAIRS >= styles.length) return undefined;
  return styles[hash(`style/${id}`) % styles.length];
}

/** What one style's picture of a concept is for: `train`, `heldout-pairs` or `heldout-concepts`. */
export function splitOf(concept, style, styles, heldOut) {
  if (heldOut.has(concept.id)) return 'heldout-concepts';
  return heldOutStyle(concept.id, styles) === style ? 'heldout-pairs' : 'train';
}
