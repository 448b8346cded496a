import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { packageRoot } from '#lib/setup/find.js';

const SEEDBED = join(packageRoot, 'dist', 'bin', 'seedbed.js');

export interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Runs the command line in a process of its own. `onText` sees all of its output so far, and may send it a signal. */
export async function seedbed(args: readonly string[], onText: (text: string, kill: (signal: NodeJS.Signals) => void) => void = () => {}, cwd = packageRoot): Promise<Ended> {
  const child = spawn(process.execPath, [SEEDBED, ...args], { cwd });
  let stdout = '';
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
    onText(stdout, (signal) => child.kill(signal));
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout, stderr };
}

/** Runs command lines one after the other in one thread of this process, which has all modules loaded after the first. Dispose of it. */
export class CommandThread {
  readonly #worker = new Worker(new URL('./command-worker.js', import.meta.url));

  async seedbed(args: readonly string[]): Promise<Ended> {
    const ended = once(this.#worker, 'message') as Promise<[Ended]>;
    this.#worker.postMessage(args);
    return (await ended)[0];
  }

  async dispose(): Promise<void> {
    const ended = once(this.#worker, 'exit');
    this.#worker.postMessage(null);
    await ended;
  }
}
