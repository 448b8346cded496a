// The thread of `CommandThread`: gets command lines, answers with what they printed and their exit codes; null ends it.

import { parentPort, type MessagePort } from 'node:worker_threads';
import { runCommandLine } from '#bin/program.js';
import type { Ended } from './command.js';

const port = parentPort as MessagePort;
process.setMaxListeners(0); // each command waits for signals of its own

/** Keeps what is written until `release`, which returns it. */
function capture(stream: NodeJS.WriteStream): () => string {
  const write = stream.write.bind(stream);
  let text = '';
  stream.write = (chunk: string | Uint8Array) => {
    text += typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString();
    return true;
  };
  return () => {
    stream.write = write;
    return text;
  };
}

async function run(args: readonly string[]): Promise<Ended> {
  const [stdout, stderr] = [capture(process.stdout), capture(process.stderr)];
  const code = await runCommandLine(args);
  return { code, stdout: stdout(), stderr: stderr() };
}

port.on('message', (args: readonly string[] | null) => {
  if (args === null) port.close();
  else void run(args).then((ended) => port.postMessage(ended));
});
