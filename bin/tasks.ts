import { Listr } from 'listr2';
import { CancelledError, SeedbedError } from '../lib/errors.js';

/** What a task tells while it runs: shown beside its title on a terminal, as plain lines elsewhere. */
export type Report = (text: string) => void;

export interface Task<Context> {
  title: string;
  run: (context: Context, report: Report) => Promise<void>;
}

export interface Output {
  /** Print nothing but the result as JSON. */
  json?: boolean | undefined;
  verbose?: boolean | undefined;
}

const LINES_EVERY_MS = 5_000;

/** Runs tasks one after the other and shows them: a moving list on a terminal, titles and a line now and then elsewhere. */
export async function runTasks<Context extends object>(context: Context, tasks: readonly Task<Context>[], output: Output): Promise<Context> {
  const renderer = output.json ? 'silent' : process.stdout.isTTY ? 'default' : 'simple';
  const list = new Listr<Context, 'default' | 'simple' | 'silent'>(
    tasks.map(({ title, run }) => ({
      title,
      task: async (current, task) => {
        let last = 0;
        await run(current, (text) => {
          const now = Date.now();
          if (renderer === 'simple' && now - last < LINES_EVERY_MS) return;
          last = now;
          task.output = text;
        });
      },
    })),
    { renderer, exitOnError: true, collectErrors: false, registerSignalListeners: false, rendererOptions: { collapseErrors: false, showErrorMessage: false } } as never,
  );
  return list.run(context);
}

const BAR = 24;

/** A text with a bar before it, on a terminal; `share` in [0, 1]. */
export function withBar(share: number, text: string): string {
  if (!process.stdout.isTTY) return text;
  const full = Math.round(BAR * Math.min(1, share));
  return `${'█'.repeat(full)}${'░'.repeat(BAR - full)} ${text}`;
}

/** A signal that the first Ctrl-C aborts; the second ends the process at once. */
export function interruptible(): AbortSignal {
  const controller = new AbortController();
  process.once('SIGINT', () => {
    process.stderr.write('\nStopping after this step; press Ctrl-C again to stop at once.\n');
    controller.abort(new CancelledError('Interrupted'));
    process.once('SIGINT', () => process.exit(130));
  });
  process.once('SIGTERM', () => controller.abort(new CancelledError('Terminated')));
  return controller.signal;
}

/** Exit codes: 1 failed, 2 wrong use, 130 interrupted. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof CancelledError) return 130;
  return error instanceof SeedbedError && error.code === 'ERR_INVALID_ARGUMENT' ? 2 : 1;
}

/** One line for people, an object for machines. */
export function printError(error: unknown, output: Output): void {
  const { message, code } = error as Error & { code?: string };
  if (output.json) process.stdout.write(`${JSON.stringify({ error: { code: code ?? 'ERR_INTERNAL', message } })}\n`);
  else process.stderr.write(`seedbed: ${message}${code === undefined ? '' : ` (${code})`}\n`);
  if (output.verbose) process.stderr.write(`${(error as Error).stack ?? ''}\n`);
}
