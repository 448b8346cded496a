import type { Command } from 'commander';
import { setup, type SetupOptions } from '../../lib/setup/setup.js';
import { example, outputOf } from '../arguments.js';
import { printSetup } from '../print-setup.js';
import { interruptible } from '../tasks.js';

export function addSetup(program: Command): void {
  const command = program
    .command('setup')
    .description('fetch libtorch and compile the native addon; does only what is missing')
    .option('--wheel <file>', 'take libtorch from this wheel or archive')
    .option('--from <way>', 'get libtorch only this way: download or pip')
    .option('--rebuild', 'compile even when the addon is up to date')
    .option('--json', 'print one JSON object instead of text')
    .action(async (options: { wheel?: string; from?: string; rebuild?: boolean }) => {
      const { from } = options;
      if (from !== undefined && from !== 'download' && from !== 'pip') command.error(`error: option '--from <way>' takes download or pip, received '${from}'`);
      const { json } = outputOf(command);
      const result = await printSetup(setup({ ...(options as SetupOptions), signal: interruptible() }), json ? process.stderr : process.stdout);
      const { folder, version } = result.libtorch;
      if (json) process.stdout.write(`${JSON.stringify(result)}\n`);
      else process.stdout.write(`${result.changed ? 'Ready' : 'Nothing to do'}: libtorch ${version} in ${folder}\n`);
    });
  example(command, 'npx seedbed setup', 'npx seedbed setup --wheel torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl');
}
