import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, CommanderError } from 'commander';
import { packageRoot } from '../lib/setup/find.js';
import { addDemo } from './commands/demo.js';
import { addDoctor } from './commands/doctor.js';
import { addEvaluate } from './commands/evaluate.js';
import { addFractal } from './commands/fractal.js';
import { addGenerate } from './commands/generate.js';
import { addGrow } from './commands/grow.js';
import { addLora } from './commands/lora.js';
import { addReport } from './commands/report.js';
import { addSetup } from './commands/setup.js';
import { addTrain } from './commands/train.js';
import { exitCodeOf, printError } from './tasks.js';

const { version } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as { version: string };

/** Commands throw where they would end the process, sub-commands too. */
function throwOnExit(command: Command): void {
  command.exitOverride();
  for (const sub of command.commands) throwOnExit(sub);
}

function createProgram(): Command {
  const program = new Command('seedbed')
    .description('Grow a vision dataset, and a trained model, from a handful of images.')
    .version(version)
    .option('--json', 'print one JSON object instead of text')
    .option('--verbose', 'print stack traces of errors')
    .showHelpAfterError('(add --help for the options)');
  for (const add of [addDemo, addSetup, addDoctor, addGrow, addGenerate, addLora, addFractal, addTrain, addEvaluate, addReport]) add(program);
  throwOnExit(program);
  return program;
}

/** Runs one command line, without node and the script's name; returns the exit code, after printing what went wrong. */
export async function runCommandLine(args: readonly string[]): Promise<number> {
  const program = createProgram();
  try {
    await program.parseAsync(args, { from: 'user' });
    return 0;
  } catch (error) {
    // Commander has printed its own complaint about wrong use, or the help that was asked for.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    printError(error, program.opts());
    return exitCodeOf(error);
  }
}
