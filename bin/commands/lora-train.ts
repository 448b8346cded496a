import { rm } from 'node:fs/promises';
import { basename } from 'node:path';
import { Option, type Command } from 'commander';
import type { Diffusion } from '../../lib/diffusion/diffusion.js';
import type { LoadDiffusionOptions } from '../../lib/diffusion/load.js';
import { CancelledError } from '../../lib/errors.js';
import { LORA_DTYPES, type LoraDtype } from '../../lib/lora/numbers.js';
import { trainLora, type Lora, type TrainLoraOptions } from '../../lib/lora/train.js';
import { originOf } from '../../lib/report/origin.js';
import { writeFileWhole } from '../../lib/files.js';
import { defined } from '../../lib/options.js';
import { writeRecord, type LoraRecord, type Part } from '../../lib/report/record.js';
import { renderReport } from '../../lib/report/report.js';
import { SampleFiles } from '../sample-files.js';
import { example, integer, number, outputOf } from '../arguments.js';
import { loadModel } from '../model.js';
import { interruptible, runTasks, withBar, type Report } from '../tasks.js';

type Format = 'diffusers' | 'kohya' | 'peft';

interface Options {
  model: string;
  out: string;
  prompt?: string;
  rank?: number;
  alpha?: number;
  steps?: number;
  batchSize?: number;
  accumulation?: number;
  size?: number;
  crop?: 'random' | 'center';
  flip?: boolean;
  lr?: number;
  lrSchedule?: 'cosine' | 'constant';
  warmup?: number;
  minSnrGamma?: number;
  noiseOffset?: number;
  textEncoder: boolean;
  prior?: string;
  priorPrompt?: string;
  recompute?: boolean;
  seed?: number;
  samplePrompt?: string[];
  sampleEvery?: number;
  sampleSteps?: number;
  checkpointEvery?: number;
  resume?: boolean;
  format: Format[];
  dtype?: LoraDtype;
  modelDtype?: LoadDiffusionOptions['dtype'];
  threads?: number;
}

interface Run {
  sd: Diffusion | undefined;
  lora: Lora | undefined;
  written: string[];
  warnings: Set<string>;
  samples: SampleFiles | undefined;
  /** Of each update. */
  seconds: number[];
  parts: Part[];
}

const SUFFIX = /\.safetensors$/;

export function addLoraTrain(lora: Command): void {
  const command = lora
    .command('train')
    .description('train an adapter on a folder of pictures')
    .argument('<images>', 'a folder of pictures; captions stand in name.txt beside name.png, or in metadata.jsonl')
    .requiredOption('--model <model>', "a diffusers folder, a .safetensors file, or a hub name, 'organisation/name'")
    .requiredOption('--out <file>', 'where the adapter goes; ends in .safetensors')
    .option('--prompt <text>', "what pictures without a caption show, say 'a photo of a sks dog'")
    .option('--rank <n>', 'inner width of the factors; default 16', integer)
    .option('--alpha <x>', 'with --rank: strength is alpha / rank; default: the rank', number)
    .option('--steps <n>', 'updates; default: 200 passes over the pictures', integer)
    .option('--batch-size <n>', 'pictures per update; default 8, or as many as there are', integer)
    .option('--accumulation <n>', 'batches per update; default 1', integer)
    .option('--size <pixels>', "side of the squares; default: the model's own", integer)
    .addOption(new Option('--crop <place>', 'which square of a picture; center is faster; default random').choices(['random', 'center']))
    .option('--flip', 'also left-right')
    .option('--lr <rate>', 'default 1e-4', number)
    .addOption(new Option('--lr-schedule <kind>', 'default cosine').choices(['cosine', 'constant']))
    .option('--warmup <n>', 'updates in which the rate grows; default 100, at most a quarter of all', integer)
    .option('--min-snr-gamma <x>', 'less weight where there is little noise; the paper takes 5', number)
    .option('--noise-offset <share>', 'for darker and lighter pictures; 0.05 to 0.1', number)
    .option('--no-text-encoder', 'train the UNet only, which is faster')
    .option('--prior <folder>', 'pictures of the class in general, against forgetting it')
    .option('--prior-prompt <text>', 'what those show')
    .option('--recompute', 'much less memory, a third more time; default: from 384 pixels on')
    .option('--no-recompute', '')
    .option('--seed <n>', 'everything random follows from it; default 0', integer)
    .option('--sample-prompt <texts...>', 'make a picture of each during training; they go into the folder NAME.samples')
    .option('--sample-every <n>', 'updates between those pictures; default 100', integer)
    .option('--sample-steps <n>', "of the sampler; default 20", integer)
    .option('--checkpoint-every <n>', 'updates between checkpoints; default 100', integer)
    .option('--resume', 'go on from the checkpoint beside --out')
    .addOption(new Option('--format <names...>', 'diffusers; kohya (ComfyUI, A1111) as NAME.kohya.safetensors; peft as a folder').choices(['diffusers', 'kohya', 'peft']).default(['diffusers', 'kohya']))
    .addOption(new Option('--dtype <type>', 'of the file; default float32').choices([...LORA_DTYPES]))
    .addOption(new Option('--model-dtype <type>', 'what the model computes in; default float32').choices(['auto', 'float32', 'bfloat16']))
    .option('--threads <n>', 'default: all cores', integer)
    .option('--json', 'print one JSON object instead of text')
    .action((images: string, options: Options) => train(images, options, command));
  example(command, "npx seedbed lora train dog/ --prompt 'a photo of a sks dog' --model org/name --out dog.safetensors", "npx seedbed generate 'a sks dog on the moon' --model org/name --lora dog.safetensors --out moon.png");
}

async function train(images: string, options: Options, command: Command): Promise<void> {
  const { model, out, format, dtype, modelDtype = 'float32', textEncoder, prior, priorPrompt, warmup, samplePrompt, sampleEvery, sampleSteps, ...numbers } = options;
  if (!SUFFIX.test(out)) command.error(`error: expected a file that ends in .safetensors for --out, received '${out}'`);
  const output = outputOf(command);
  const signal = interruptible();
  const place = (end: string): string => out.replace(SUFFIX, `.${end}`);
  const checkpoint = place('checkpoint.safetensors');
  if (samplePrompt === undefined && (sampleEvery !== undefined || sampleSteps !== undefined)) command.error('error: expected --sample-prompt with --sample-every and --sample-steps');
  const samples = samplePrompt && new SampleFiles(out.replace(SUFFIX, '.samples'), out, samplePrompt);
  const run: Run = { sd: undefined, lora: undefined, written: [], warnings: new Set(), samples, seconds: [], parts: [] };
  const call = {
    images,
    ...defined({ ...numbers, warmupSteps: warmup, textEncoderTargets: textEncoder ? undefined : [], prior: prior === undefined ? undefined : defined({ images: prior, prompt: priorPrompt }) }),
    ...(samplePrompt && { samples: defined({ prompts: samplePrompt, every: sampleEvery, steps: sampleSteps }) }),
    checkpoint,
    signal,
  } as unknown as TrainLoraOptions;
  const begin = performance.now();
  try {
    await runTasks(
      run,
      [
        { title: `load ${model}`, run: (_, report) => timed(run, 'loading the model', async () => void (run.sd = await loadModel(model, { dtype: modelDtype, signal, ...defined({ threads: options.threads }) }, report))) },
        { title: 'train', run: (_, report) => timed(run, 'training', () => follow(run, call, report)) },
        { title: 'write', run: () => timed(run, 'writing', () => write(run, out, format, dtype)) },
        { title: `report ${place('report.html')}`, run: () => writeReport(run, out, options.resume ?? false) },
      ],
      output,
    );
    await rm(checkpoint, { force: true });
    const { training } = run.lora as Lora;
    const seconds = (performance.now() - begin) / 1000;
    for (const warning of output.json ? [] : run.warnings) process.stderr.write(`seedbed: ${warning}\n`);
    const summary = { written: run.written, record: place('record.json'), report: place('report.html'), samples: samples?.written ?? [], steps: training.steps, seconds, losses: training.losses, settings: training.settings, warnings: [...run.warnings] };
    process.stdout.write(`${output.json ? JSON.stringify(summary) : `Wrote ${run.written.join(', ')} after ${training.steps} updates, ${seconds.toFixed(0)} s; mean loss of the last tenth ${tail(training.losses).toFixed(4)}; the curve is in ${place('report.html')}`}\n`);
  } catch (error) {
    if (error instanceof CancelledError && !output.json) process.stderr.write('The state is kept; the same command with --resume goes on.\n');
    throw error;
  } finally {
    run.sd?.dispose();
  }
}

async function follow(run: Run, options: TrainLoraOptions, report: Report): Promise<void> {
  const job = trainLora(run.sd as Diffusion, options);
  const begin = performance.now();
  let first: number | undefined;
  let last = begin;
  for await (const event of job) {
    if (event.type === 'step') run.seconds.push((performance.now() - last) / 1000);
    last = performance.now();
    if (event.type === 'warning') run.warnings.add(event.message);
    else if (event.type === 'sample') {
      await run.samples?.write(event);
      report(`pictures of update ${event.step}`);
      last = performance.now();
    } else if (event.type === 'encode') report(withBar(event.done / event.total, `picture ${event.done} of ${event.total}`));
    else if (event.type === 'step') {
      first ??= event.step - 1;
      const seconds = (performance.now() - begin) / 1000 / (event.step - first);
      report(withBar(event.step / event.steps, `update ${event.step} of ${event.steps}, loss ${event.loss.toFixed(4)}, ${seconds.toFixed(2)} s each`));
    }
  }
  run.lora = await job;
}

async function write({ lora, written }: Run, out: string, formats: readonly Format[], dtype: LoraDtype | undefined): Promise<void> {
  const names: Record<Format, string> = { diffusers: out, kohya: formats.length === 1 ? out : out.replace(SUFFIX, '.kohya.safetensors'), peft: out.replace(SUFFIX, '') };
  for (const format of formats) written.push(...(await (lora as Lora).save(names[format], { format, ...defined({ dtype }) })));
}

async function timed(run: Run, name: string, work: () => Promise<void>): Promise<void> {
  const begin = performance.now();
  await work();
  run.parts.push({ name, seconds: (performance.now() - begin) / 1000 });
}

async function writeReport({ sd, lora, written, warnings, samples, seconds, parts }: Run, out: string, resumed: boolean): Promise<void> {
  const { weights, training } = lora as Lora;
  const { model, prompts, ...settings } = training.settings;
  const layers = [...Object.values(weights.unet), ...Object.values(weights.textEncoder)];
  const record: LoraRecord = {
    kind: 'lora',
    origin: await originOf(),
    name: basename(out, '.safetensors'),
    model: String(model),
    dtype: (sd as Diffusion).info.dtype,
    pictures: training.pictures,
    settings: { ...settings, prompts },
    layers: { unet: Object.keys(weights.unet).length, textEncoder: Object.keys(weights.textEncoder).length },
    parameters: layers.reduce((sum, { down, up }) => sum + down.data.length + up.data.length, 0),
    losses: training.losses,
    seconds,
    peakMb: Math.round(process.resourceUsage().maxRSS / 1024),
    samples: await samples?.forRecord(training.steps, resumed),
    written,
    warnings: [...warnings],
    parts,
  };
  await writeRecord(out.replace(SUFFIX, '.record.json'), record);
  await writeFileWhole(out.replace(SUFFIX, '.report.html'), await renderReport(record));
}

/** The mean of the last tenth, since single losses depend most on the timestep that was drawn. */
const tail = (losses: readonly number[]): number => {
  const last = losses.slice(-Math.max(1, Math.floor(losses.length / 10)));
  return last.reduce((a, b) => a + b, 0) / last.length;
};
