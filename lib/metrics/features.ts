import { z } from 'zod';
import { ArgumentError } from '../errors.js';
import { Job, runNative } from '../job.js';
import { wilson, type Interval } from '../metrics.js';
import { native, type JobListener, type NativeBinding } from '../native.js';
import { abortSignal, checkOptions, defined, positiveInt, show } from '../options.js';
import type { Tensor } from '../tensor.js';
import { threads } from '../threads.js';

/** Numbers that describe pictures, a row each: [N, D]. */
export type Features = Tensor<'float32'> | Tensor<'float64'>;

const callFields = {
  /** Default: all cores. */
  threads: positiveInt.max(1024).optional(),
  signal: abortSignal.optional(),
};

const plainSchema = z.strictObject(callFields);
const kernelSchema = z.strictObject({
  ...callFields,
  /** Of the polynomial kernel. Default 3. */
  degree: positiveInt.max(16).default(3),
});
const manifoldSchema = z.strictObject({
  ...callFields,
  /** A row's ball reaches to its k-th nearest other row. Default 3. */
  k: positiveInt.default(3),
});
const metric = z.enum(['euclidean', 'cosine']).default('euclidean');
const nearestSchema = z.strictObject({
  ...callFields,
  /** Neighbours of each row. Default 1. */
  k: positiveInt.default(1),
  /** `cosine`: between rows brought to length 1. Default euclidean. */
  metric,
});
const retrievalSchema = z.strictObject({
  ...callFields,
  /** `cosine`: between rows brought to length 1. Default euclidean. */
  metric,
});

export type MeasureOptions = z.input<typeof plainSchema>;
export type KernelDistanceOptions = z.input<typeof kernelSchema>;
export type PrecisionRecallOptions = z.input<typeof manifoldSchema>;
export type NearestOptions = z.input<typeof nearestSchema>;
export type RetrievalOptions = z.input<typeof retrievalSchema>;

export interface KernelDistance {
  distance: number;
  /** The jackknife's: from leaving out each row of each set. */
  standardError: number;
}

export interface PrecisionRecall {
  /** Share of the made that lie in the region of the real. */
  precision: number;
  /** Share of the real that lie in the region of the made. */
  recall: number;
}

export interface Neighbours {
  /** Rows of the gallery, [N, k], the nearest first. */
  places: Tensor<'int64'>;
  distances: Tensor<'float64'>;
}

/** How often the asked row of a gallery is the nearest one, and among the five nearest. */
export interface RetrievalResult {
  top1: number;
  top5: number;
  /** 95 % Wilson intervals. */
  top1Interval: Interval;
  top5Interval: Interval;
  /** Of each query: its own row's place among all by distance, 1 is best; rows as near count as nearer. */
  ranks: number[];
}

type Measure = 'frechetDistance' | 'kernelDistance' | 'precisionRecall' | 'nearestRows' | 'rankRows';
type ResultOf<M extends Measure> = Parameters<NativeBinding[M]>[1] extends JobListener<never, infer Result> ? Result : never;

function measure<M extends Measure>(name: M, sets: Readonly<Record<string, Tensor>>, options: { threads?: number | undefined; signal?: AbortSignal | undefined }): Job<never, ResultOf<M>> {
  for (const [key, set] of Object.entries(sets)) if (!ArrayBuffer.isView((Object(set) as Partial<Tensor>).data)) throw new ArgumentError(`Expected features { data, shape, dtype } for ${key}, received ${show(set)}`);
  const { signal: _, ...rest } = options;
  const call = defined({ ...rest, ...sets, threads: threads(options.threads) });
  return new Job<never, ResultOf<M>>(({ signal }) => runNative<never, ResultOf<M>>((listener) => native()[name](call, listener as never), signal), options);
}

/**
 * Fréchet's distance between two sets of features, each taken for a normal distribution (arXiv 1706.08500). Small sets give too large a distance:
 * compare only figures from sets of one size. It is an "FID" only where the features come from that measure's Inception network.
 */
export function frechetDistance(a: Features, b: Features, options: MeasureOptions = {}): Job<never, number> {
  return measure('frechetDistance', { a, b }, checkOptions(plainSchema, options, 'frechetDistance'));
}

/** Squared maximum mean discrepancy with a polynomial kernel, unbiased for sets of any size (arXiv 1801.01401), over all rows: about 0, perhaps below, for two draws from one source. */
export function kernelDistance(a: Features, b: Features, options: KernelDistanceOptions = {}): Job<never, KernelDistance> {
  return measure('kernelDistance', { a, b }, checkOptions(kernelSchema, options, 'kernelDistance'));
}

/** Improved precision and recall (arXiv 1904.06991). Both depend on the sets' sizes. */
export function precisionRecall(real: Features, made: Features, options: PrecisionRecallOptions = {}): Job<never, PrecisionRecall> {
  return measure('precisionRecall', { real, made }, checkOptions(manifoldSchema, options, 'precisionRecall'));
}

/** The rows of a gallery nearest to each query. */
export function nearest(queries: Features, gallery: Features, options: NearestOptions = {}): Job<never, Neighbours> {
  const { metric, ...o } = checkOptions(nearestSchema, options, 'nearest');
  return measure('nearestRows', { queries, gallery }, { ...o, ...unit(metric) });
}

/** Whether the row of `gallery` that is asked for, `wanted[i]`, is the nearest to query i. */
export function retrieval(queries: Features, gallery: Features, wanted: readonly number[], options: RetrievalOptions = {}): Job<never, RetrievalResult> {
  const { metric, ...o } = checkOptions(retrievalSchema, options, 'retrieval');
  if (!Array.isArray(wanted) || wanted.length !== queries.shape[0]) throw new ArgumentError(`Expected a row of the gallery for each of ${String(queries.shape[0])} queries, received ${show(wanted)}`);
  const bad = (wanted as readonly number[]).find((place) => !Number.isInteger(place));
  if (bad !== undefined) throw new ArgumentError(`Expected integers for wanted, received ${show(bad)}`);
  const places: Tensor<'int64'> = { data: BigInt64Array.from(wanted, BigInt), shape: [wanted.length], dtype: 'int64' };
  return new Job<never, RetrievalResult>(async ({ signal }) => {
    const { data } = await measure('rankRows', { queries, gallery, wanted: places }, { ...o, signal, ...unit(metric) });
    const ranks = Array.from(data, Number);
    const within = (most: number): number => ranks.filter((rank) => rank <= most).length;
    const [first, five] = [within(1), within(5)];
    const count = ranks.length;
    return { top1: first / count, top5: five / count, top1Interval: wilson(first, count), top5Interval: wilson(five, count), ranks };
  }, o);
}

const unit = (metric: 'euclidean' | 'cosine'): { unit: boolean } => ({ unit: metric === 'cosine' });
