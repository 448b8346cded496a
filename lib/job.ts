import { CancelledError, errorFromNative } from './errors.js';
import { native, type Ask, type JobListener } from './native.js';
import type { Tensor } from './tensor.js';

/** What a running job may do. */
export interface JobContext<Event> {
  /** Aborted when the job is to stop; its reason is what the job rejects with. */
  readonly signal: AbortSignal;
  /** Queues an event for whoever iterates the job. */
  readonly emit: (event: Event) => void;
}

/**
 * Long work that has begun: await it for its result, or iterate it for its events.
 *
 * Leaving the loop, `cancel()` and the abort signal stop the work at its next step; it then rejects with the signal's
 * reason or a `CancelledError`. Events wait until they are read; they are dropped when the job is only awaited.
 *
 * @example
 * for await (const event of job) console.log(event);
 * const result = await job;
 */
export class Job<Event, Result> implements PromiseLike<Result>, AsyncIterable<Event> {
  readonly #controller = new AbortController();
  readonly #result: Promise<Result>;
  #events: Event[] = [];
  #settled = false;
  #awaited = false;
  #iterated = false;
  #wake: () => void = () => {};

  constructor(run: (context: JobContext<Event>) => Promise<Result>, options: { signal?: AbortSignal | undefined } = {}) {
    const { signal } = options;
    signal?.throwIfAborted();
    const onAbort = (): void => this.#controller.abort(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    const context: JobContext<Event> = {
      signal: this.#controller.signal,
      emit: (event) => {
        if (this.#awaited && !this.#iterated) return;
        this.#events.push(event);
        this.#wake();
      },
    };
    this.#result = Promise.resolve()
      .then(() => run(context))
      .finally(() => {
        signal?.removeEventListener('abort', onAbort);
        this.#settled = true;
        this.#wake();
      });
  }

  /** Stops the work at its next step. Nothing happens when it is done. */
  cancel(): void {
    this.#controller.abort(new CancelledError());
  }

  then<A = Result, B = never>(onResult?: ((value: Result) => A | PromiseLike<A>) | null, onError?: ((reason: unknown) => B | PromiseLike<B>) | null): Promise<A | B> {
    this.#awaited = true;
    return this.#result.then(onResult, onError);
  }

  catch<B = never>(onError?: ((reason: unknown) => B | PromiseLike<B>) | null): Promise<Result | B> {
    return this.then(undefined, onError);
  }

  finally(onSettled?: (() => void) | null): Promise<Result> {
    this.#awaited = true;
    return this.#result.finally(onSettled);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Event, void, void> {
    this.#iterated = true;
    this.#result.catch(() => {}); // thrown below instead
    try {
      for (;;) {
        const events = this.#events;
        this.#events = [];
        yield* events;
        if (this.#events.length > 0) continue;
        if (this.#settled) break;
        await new Promise<void>((resolve) => (this.#wake = resolve));
      }
      await this.#result;
    } finally {
      if (!this.#settled) {
        this.cancel();
        await this.#result.catch(() => {});
      }
    }
  }
}

/**
 * Runs a native job inside a job of ours: `start` begins it and returns its handle. Events pass through `onEvent`;
 * `signal` cancels it. What the work asks is put to `answer`; what that throws ends the work and is what it rejects with.
 */
export function runNative<Event, Result, Question = never>(
  start: (listener: JobListener<Event, Result, Question>) => number,
  signal: AbortSignal,
  onEvent: (event: Event) => void = () => {},
  answer?: (question: Question) => Tensor | Promise<Tensor>,
): Promise<Result> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    let failure: { reason: unknown } | undefined;
    const reply = async ({ id, question }: Ask<Question>): Promise<void> => {
      try {
        const tensor = await answer?.(question);
        native().answerJob(job, id, tensor as Tensor);
      } catch (reason) {
        failure ??= { reason };
        cancel();
      }
    };
    const job = start((kind, value) => {
      if (kind === 'event') {
        onEvent(value as Event);
        return;
      }
      if (kind === 'ask') {
        void reply(value as Ask<Question>);
        return;
      }
      signal.removeEventListener('abort', cancel);
      if (kind === 'done') {
        resolve(value as Result);
        return;
      }
      const error = errorFromNative(value as { code: string; message: string });
      const cancelled = error.code === 'ERR_CANCELLED';
      reject(cancelled && signal.aborted ? (signal.reason as Error) : cancelled && failure !== undefined ? (failure.reason as Error) : error);
    });
    const cancel = (): void => native().cancelJob(job);
    signal.addEventListener('abort', cancel, { once: true });
  });
}

/** Reads a job to its end inside another: its events go to `onEvent`, the outer signal cancels it. */
export async function follow<Event, Result>(job: Job<Event, Result>, onEvent: (event: Event) => void): Promise<Result> {
  for await (const event of job) onEvent(event);
  return job;
}
