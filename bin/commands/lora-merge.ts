import { Option, type Command } from 'commander';
import type { Diffusion } from '../../lib/diffusion/diffusion.js';
import { follow } from '../../lib/job.js';
import { LORA_DTYPES, type LoraDtype } from '../../lib/lora/numbers.js';
import { defined } from '../../lib/options.js';
import { example, integer, outputOf } from '../arguments.js';
import { addLoras, loadModel, loraArgument, type LoraArgument } from '../model.js';
import { interruptible, runTasks } from '../tasks.js';

interface Options {
  model: string;
  out: string;
  dtype?: LoraDtype;
  threads?: number;
}

export function addLoraMerge(lora: Command): void {
  const command = lora
    .command('merge')
    .description('write a model with adapters in its weights, as a diffusers folder')
    .argument('<loras...>', "adapters, each with ':' and a strength behind it if not 1")
    .requiredOption('--model <model>', "a diffusers folder, a .safetensors file, or a hub name, 'organisation/name'")
    .requiredOption('--out <folder>', 'a new or empty folder')
    .addOption(new Option('--dtype <type>', 'of the weights that are written; default float32').choices([...LORA_DTYPES]))
    .option('--threads <n>', 'default: all cores', integer)
    .option('--json', 'print one JSON object instead of text')
    .action((loras: string[], options: Options) => merge(loras.reduce<LoraArgument[]>((list, text) => loraArgument(text, list), []), options, command));
  example(command, 'npx seedbed lora merge dog.safetensors style.safetensors:0.6 --model org/name --out dog-model/');
}

async function merge(loras: LoraArgument[], { model, out, dtype = 'float32', threads }: Options, command: Command): Promise<void> {
  const output = outputOf(command);
  const signal = interruptible();
  const run: { sd: Diffusion | undefined } = { sd: undefined };
  try {
    await runTasks(
      run,
      [
        { title: `load ${model}`, run: async (_, report) => void (run.sd = await loadModel(model, { dtype: 'float32', signal, ...defined({ threads }) }, report)) },
        {
          title: 'merge and write',
          run: async (_, report) => {
            const sd = run.sd as Diffusion;
            addLoras(sd, loras);
            for (const { name } of sd.loras.list()) sd.loras.merge(name);
            await follow(sd.save(out, { dtype, signal }), (event) => report(event.part));
          },
        },
      ],
      output,
    );
    process.stdout.write(`${output.json ? JSON.stringify({ written: out, loras }) : `Wrote ${out}`}\n`);
  } finally {
    run.sd?.dispose();
  }
}
