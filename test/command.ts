import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { packageRoot } from '#lib/setup/find.js';

const SEEDBED = join(packageRoot, 'dist', 'bin', 'seedbed.js');

export interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Runs the command line in a process of its own. `onText` sees all of its output so far, and may send it a signal. */
export async function seedbed(args: readonly string[], onText: (text: string, kill: (signal: NodeJS.Signals) => void) => void = () => {}): Promise<Ended> {
  const child = spawn(process.execPath, [SEEDBED, ...args], { cwd: packageRoot });
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
