#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, CommanderError } from 'commander';
import { packageRoot } from '../lib/setup/find.js';
import { addDemo } from './commands/demo.js';
import { addDoctor } from './commands/doctor.js';
import { addEvaluate } from './commands/evaluate.js';
import { addFractal } from './commands/fractal.js';
import { addGenerate } from './commands/generate.js';
import { addLora } from './commands/lora.js';
import { addReport } from './commands/report.js';
import { addSetup } from './commands/setup.js';
import { addTrain } from './commands/train.js';
import { exitCodeOf, printError } from './tasks.js';

const { version } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as { version: string };

const program = new Command('seedbed')
  .description('Grow a vision dataset, and a trained model, from a handful of images.')
  .version(version)
  .option('--json', 'print one JSON object instead of text')
  .option('--verbose', 'print stack traces of errors')
  .showHelpAfterError('(add --help for the options)')
  .exitOverride();

for (const add of [addDemo, addSetup, addDoctor, addGenerate, addLora, addFractal, addTrain, addEvaluate, addReport]) add(program);
for (const command of program.commands) command.exitOverride();

// A reader that has seen enough (`| head`) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit();
});

try {
  await program.parseAsync();
} catch (error) {
  // Commander has printed its own complaint about wrong use, or the help that was asked for.
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2;
  else {
    printError(error, program.opts());
    process.exitCode = exitCodeOf(error);
  }
}
