import { ArgumentError } from './errors.js';

/** A 95 % interval. */
export interface Interval {
  low: number;
  high: number;
}

const Z_95 = 1.959963984540054;

/** Student's t, two-sided 95 %, by degrees of freedom 1 to 30. */
const T_95 = [
  12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131, 2.12, 2.11, 2.101, 2.093, 2.086, 2.08, 2.074, 2.069, 2.064, 2.06, 2.056, 2.052,
  2.048, 2.045, 2.042,
];

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Sample standard deviation (n − 1). */
export function standardDeviation(values: readonly number[]): number {
  const centre = mean(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - centre) ** 2, 0) / (values.length - 1));
}

/** The value that this share of the values lies below, between two neighbours in proportion (NumPy's default). */
export function quantile(values: readonly number[], at: number): number {
  if (values.length === 0) throw new ArgumentError('Expected at least one value for quantile, received none');
  const sorted = [...values].sort((a, b) => a - b);
  const place = at * (sorted.length - 1);
  const [below, above] = [sorted[Math.floor(place)] as number, sorted[Math.ceil(place)] as number];
  return below + (above - below) * (place - Math.floor(place));
}

/** Wilson's interval of a share: `right` of `count`. */
export function wilson(right: number, count: number): Interval {
  if (count === 0) return { low: 0, high: 1 };
  const p = right / count;
  const z2 = Z_95 ** 2;
  const centre = (p + z2 / (2 * count)) / (1 + z2 / count);
  const half = (Z_95 / (1 + z2 / count)) * Math.sqrt((p * (1 - p)) / count + z2 / (4 * count ** 2));
  return { low: centre - half, high: centre + half };
}

/** Student's interval of a mean over runs (seeds). Without bounds for a single run. */
export function meanInterval(values: readonly number[]): Interval & { mean: number } {
  const centre = mean(values);
  if (values.length < 2) return { mean: centre, low: -Infinity, high: Infinity };
  const half = ((T_95[values.length - 2] ?? Z_95) * standardDeviation(values)) / Math.sqrt(values.length);
  return { mean: centre, low: centre - half, high: centre + half };
}

/** 95 % percentile interval of a mean, from `resamples` draws of as many values with replacement. */
export function bootstrap(values: readonly number[], { resamples = 2000, seed = 0 }: { resamples?: number; seed?: number } = {}): Interval & { mean: number } {
  if (values.length === 0) throw new ArgumentError('Expected at least one value for bootstrap, received none');
  const random = uniformOf(seed);
  const means = Array.from({ length: resamples }, () => {
    let sum = 0;
    for (let i = 0; i < values.length; i++) sum += values[Math.floor(random() * values.length)] ?? 0;
    return sum / values.length;
  }).sort((a, b) => a - b);
  const at = (share: number): number => means[Math.min(resamples - 1, Math.floor(share * resamples))] ?? NaN;
  return { mean: mean(values), low: at(0.025), high: at(0.975) };
}

/** Numbers in [0, 1): a Weyl sequence, mixed (murmur3's finaliser). */
function uniformOf(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let h = Math.imul(state ^ (state >>> 16), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    return ((h ^ (h >>> 16)) >>> 0) / 2 ** 32;
  };
}

/** Measures, by name. */
export const metrics = { mean, standardDeviation, quantile, wilson, meanInterval, bootstrap };
