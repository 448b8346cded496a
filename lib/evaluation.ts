import type { Image } from './image.js';
import { mean, wilson, type Interval } from './metrics.js';
import { row, type Tensor } from './tensor.js';

export interface Prediction {
  label: number;
  className: string;
  /** Per class, in [0, 1], sum 1. */
  probabilities: Float32Array;
}

export interface ClassifierEvaluation {
  /** Share of right answers. */
  accuracy: number;
  /** 95 % Wilson interval of the accuracy over pictures. */
  interval: Interval;
  /** Mean cross-entropy, nats. */
  loss: number;
  /** Mean over classes of the share of right answers. */
  balancedAccuracy: number;
  /** confusion[i][j]: pictures of class i called j. */
  confusion: number[][];
  predictions: number[];
  count: number;
}

/** Names of pictures from class scores [pictures, classes]. */
export function predictionsOf(images: readonly Image[], logits: Tensor<'float32'>, classes: readonly string[]): Prediction[] {
  return images.map((_, i) => {
    const probabilities = softmax(row(logits, i));
    const label = probabilities.indexOf(Math.max(...probabilities));
    return { label, className: classes[label] ?? '', probabilities };
  });
}

/** Answers against the labels. */
export function evaluationOf({ loss, predictions }: { loss: number; predictions: number[] }, labels: readonly number[], classes: readonly string[]): ClassifierEvaluation {
  const confusion = classes.map(() => classes.map(() => 0));
  for (const [i, label] of labels.entries()) {
    const line = confusion[label];
    const answer = predictions[i] ?? 0;
    if (line !== undefined) line[answer] = (line[answer] ?? 0) + 1;
  }
  const right = labels.filter((label, i) => predictions[i] === label).length;
  return { accuracy: right / labels.length, interval: wilson(right, labels.length), loss, balancedAccuracy: balanced(confusion), confusion, predictions, count: labels.length };
}

/** Mean cross-entropy of predictions, nats. */
export const crossEntropyOf = (predictions: readonly Prediction[], labels: readonly number[]): number => mean(predictions.map(({ probabilities }, i) => -Math.log(Math.max(probabilities[labels[i] ?? 0] ?? 0, Number.MIN_VALUE))));

function softmax(scores: Float32Array): Float32Array {
  const highest = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - highest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

function balanced(confusion: readonly (readonly number[])[]): number {
  return mean(
    confusion.flatMap((line, i) => {
      const count = line.reduce((a, b) => a + b, 0);
      return count === 0 ? [] : [(line[i] ?? 0) / count];
    }),
  );
}
