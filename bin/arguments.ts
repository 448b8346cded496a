import { InvalidArgumentError, type Command } from 'commander';
import type { Output } from './tasks.js';

/** Parsers of option values; wrong ones are wrong use (exit code 2). */
export function integer(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw new InvalidArgumentError('Expected an integer.');
  return value;
}

export function number(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('Expected a number.');
  return value;
}

/** `--json` and `--verbose`, which stand before or after the verb. */
export function outputOf(command: Command): Output {
  return command.optsWithGlobals<Output>();
}

/** Adds an example to a verb's help. */
export function example(command: Command, ...lines: string[]): Command {
  return command.addHelpText('after', `\nExample:\n${lines.map((line) => `  $ ${line}`).join('\n')}`);
}
