import { Job, runNative } from './job.js';
import type { JobListener } from './native.js';
import { abortSignal, positiveInt } from './options.js';

/** Options of everything that draws pictures. */
export const runFields = {
  /** Threads; the bytes do not depend on them. Default: all cores. */
  threads: positiveInt.max(1024).optional(),
  signal: abortSignal.optional(),
};

/** A native job as a `Job` of ours. */
export function nativeJob<Event, Result>(signal: AbortSignal | undefined, start: (listener: JobListener<Event, Result>) => number): Job<Event, Result> {
  return new Job<Event, Result>((context) => runNative<Event, Result>(start, context.signal, context.emit), { signal });
}
