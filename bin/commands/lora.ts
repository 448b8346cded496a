import { Option, type Command } from 'commander';
import { convertLora } from '../../lib/lora/convert.js';
import { inspectLora, sitesOf, type LoraPartSummary, type LoraSummary } from '../../lib/lora/inspect.js';
import { LORA_DTYPES, type LoraDtype } from '../../lib/lora/numbers.js';
import { defined } from '../../lib/options.js';
import { example, outputOf } from '../arguments.js';
import { addLoraMerge } from './lora-merge.js';
import { addLoraTrain } from './lora-train.js';

const MODEL = 'sd1, sd2, or the path of a model: whose layers the keys must fit (default: what the file was made for)';

export function addLora(program: Command): void {
  const lora = program.command('lora').description('train, inspect, convert and merge adapters of Stable Diffusion models');
  for (const add of [addLoraTrain, addInspect, addConvert, addLoraMerge]) add(lora);
}

function addInspect(lora: Command): void {
  const command = lora
    .command('inspect')
    .description("say a LoRA's format, model, layers, ranks and metadata")
    .argument('<file>', "a .safetensors file, or a folder of PEFT's or diffusers'")
    .option('--model <model>', MODEL)
    .option('--json', 'print one JSON object instead of text')
    .action(async (file: string, options: { model?: string }) => {
      const summary = inspectLora(file, options.model === undefined ? undefined : await sitesOf(options.model));
      process.stdout.write(`${outputOf(command).json ? JSON.stringify(summary) : text(file, summary)}\n`);
      if (summary.unmatched.length > 0) process.exitCode = 1;
    });
  example(command, 'npx seedbed lora inspect style.safetensors', 'npx seedbed lora inspect adapter/ --model models/sd-2-1');
}

interface ConvertOptions {
  to: 'diffusers' | 'kohya' | 'peft';
  out: string;
  dtype?: LoraDtype;
  model?: string;
  padOutProj?: boolean;
}

function addConvert(lora: Command): void {
  const command = lora
    .command('convert')
    .description('write a LoRA in another format')
    .argument('<file>', "a .safetensors file, or a folder of PEFT's or diffusers'")
    .addOption(new Option('--to <format>', 'diffusers; kohya (ComfyUI, A1111, sd-scripts); peft (a folder, or a file when --out ends in .safetensors)').choices(['diffusers', 'kohya', 'peft']).makeOptionMandatory())
    .requiredOption('--out <path>', 'the file, or the folder for peft')
    .addOption(new Option('--dtype <type>', 'default: as it is').choices([...LORA_DTYPES]))
    .option('--model <model>', MODEL)
    .option('--pad-out-proj', 'add output projections that change nothing where a text encoder has none')
    .option('--json', 'print one JSON object instead of text')
    .action(async (file: string, { to, out, dtype, model, padOutProj }: ConvertOptions) => {
      const sites = model === undefined ? undefined : await sitesOf(model);
      const written = await convertLora(file, out, { format: to, ...defined({ dtype, padOutProj, sites }) });
      process.stdout.write(`${outputOf(command).json ? JSON.stringify({ written }) : `Wrote ${written.join(', ')}`}\n`);
    });
  example(command, 'npx seedbed lora convert style.safetensors --to kohya --out style.kohya.safetensors', 'npx seedbed lora convert adapter/ --to diffusers --dtype float16 --out pytorch_lora_weights.safetensors');
}

const FORMATS: Readonly<Record<LoraSummary['format'], string>> = {
  diffusers: 'diffusers',
  'diffusers-old': 'diffusers, old names',
  'diffusers-peft': "diffusers, PEFT's names",
  peft: 'PEFT',
  kohya: 'kohya (A1111, ComfyUI)',
  cloneofsimo: 'list without names (cloneofsimo)',
  'textual-inversion': 'textual inversion',
};
const FAMILIES = { sd1: 'Stable Diffusion 1.x', sd2: 'Stable Diffusion 2.x' };
const SHOWN = 20;
const SHOWN_CHARACTERS = 100;

function text(file: string, s: LoraSummary): string {
  const share = ({ layers, of }: LoraPartSummary): string => `${layers}/${of}`;
  const values = (list: readonly number[]): string => list.map((value) => String(Number(value.toPrecision(6)))).join(', ');
  const few = (list: readonly string[]): string => list.slice(0, 5).join(', ') + (list.length > 5 ? ', ...' : '');
  const metadata = Object.entries(s.metadata).filter(([name]) => !/^(unet|text_encoder):\d+:rank$/.test(name));
  const embeddings = Object.entries(s.embeddings).map(([token, shape]) => `${token} [${shape.join(', ')}]`);
  return [
    `${file}: ${FORMATS[s.format]}, ${s.family === undefined ? 'a model of unknown sizes' : FAMILIES[s.family]}`,
    `  layers      UNet ${share(s.parts.unet)}, text ${share(s.parts.textEncoder)}`,
    `  rank        ${values(s.ranks)}; alpha ${values(s.alphas)}; scale ${values(s.scales)}`,
    `  numbers     ${s.parameters.toLocaleString('en')} in ${s.dtypes.join(', ')}`,
    ...(embeddings.length > 0 ? [`  embeddings  ${embeddings.join(', ')}`] : []),
    ...(s.unmatched.length > 0 ? [`  unmatched   ${s.unmatched.length} keys: ${few(s.unmatched)}`] : []),
    ...metadata.slice(0, SHOWN).map(([name, value], i) => `  ${i === 0 ? 'metadata' : '        '}    ${name} = ${value.length > SHOWN_CHARACTERS ? `${value.slice(0, SHOWN_CHARACTERS)}...` : value}`.replaceAll('\n', ' ')),
    ...(metadata.length > SHOWN ? [`              ... and ${metadata.length - SHOWN} more`] : []),
  ].join('\n');
}
