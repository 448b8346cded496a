import type { Dataset } from '../../data/dataset.js';

/** A part of the real pictures, and the others. */
export interface Fold {
  learnt: Dataset;
  held: Dataset;
}

/** Up to `most` folds: every picture is held out once, in turn within each class, so that every class is learnt everywhere. Where a class has one picture there is one fold, which has nothing to learn from. */
export function foldsOf(train: Dataset, most: number): Fold[] {
  const seen = train.classes.map(() => 0);
  const folds = Math.min(most, ...train.counts);
  const { keys, labels } = train;
  const foldOf = new Map(labels.map((label, i) => [keys[i], ((seen[label] as number)++) % folds]));
  return Array.from({ length: folds }, (_, fold) => ({ learnt: train.filter((key) => foldOf.get(key) !== fold), held: train.filter((key) => foldOf.get(key) === fold) }));
}
