import { resolve } from 'node:path';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { readJson } from '../../lib/diffusion/json-file.js';
import { DTYPES, shippedDiffusion } from '../../lib/diffusion/load.js';
import { CancelledError } from '../../lib/errors.js';
import { dataDream, type DataDreamEvent, type DataDreamResult, type Stage } from '../../lib/methods/data-dream/data-dream.js';
import type { DataDreamOptions } from '../../lib/methods/data-dream/options.js';
import { Work } from '../../lib/methods/data-dream/work.js';
import { defined } from '../../lib/options.js';
import { choiceText, percent, points, sureness, verdict } from '../../lib/report/parts.js';
import { example, integer, number, outputOf } from '../arguments.js';
import { interruptible, type Output } from '../tasks.js';

interface Options {
  out: string;
  model?: string;
  test?: string;
  holdOut?: number;
  mode?: 'class' | 'dataset' | 'picture';
  shots?: number;
  template?: string[];
  domain?: string;
  askWith?: string[];
  names?: string;
  askFor?: string;
  dtype?: (typeof DTYPES)[number];
  captions: boolean;
  rank?: number;
  epochs?: number;
  adaptSteps?: number;
  adaptLr?: number;
  textEncoder: boolean;
  perClass?: number;
  steps?: number;
  guidance?: number[];
  from?: 'noise' | 'real';
  strength?: number[];
  batchSize?: number;
  filter: boolean;
  keep?: number;
  judge?: 'classifier' | 'clip';
  agreementPercentile?: number;
  near?: number;
  distancePercentile?: number;
  diverse?: number;
  filterClip?: string;
  compare: boolean;
  init?: string;
  clip?: string;
  compareSteps?: number;
  seeds?: number;
  realWeight?: number;
  choose?: boolean;
  sweep?: number[];
  format?: 'imagefolder' | 'webdataset';
  shard?: { index: number; count: number };
  seed?: number;
  threads?: number;
}

const SAY_EVERY_MS = 5_000;

export function addGrow(program: Command): void {
  const command = program
    .command('grow')
    .description('more pictures from a few of each class, by a model adapted to them (DataDream), and whether they help')
    .argument('<data>', 'a folder with a folder of pictures for each class; or a WebDataset tar, parquet or IDX files, a folder with metadata.jsonl')
    .requiredOption('--out <folder>', 'adapters, pictures, results and the report; the same command goes on where it was stopped')
    .option('--model <model>', "a diffusers folder, a .safetensors file, a hub name, or 'seedling'; default: seedling")
    .option('--test <data>', 'pictures of the same classes to measure on; default: some of the data are held out')
    .option('--hold-out <share>', 'of each class, without --test; default 0.25, 0: no comparison', number)
    .addOption(new Option('--mode <mode>', 'an adapter for each class, one for all, or one for each picture; default class').choices(['class', 'dataset', 'picture']))
    .option('--shots <n>', 'pictures of each class to learn from; default: all', integer)
    .option('--template <texts...>', "sentences about a picture, with {class}; default 'a {domain}photo of a {class}'")
    .option('--ask-with <texts...>', 'sentences to generate with, in turn, where not those that were learnt; with {class}')
    .option('--names <file>', 'JSON: what classes are called, {"n02123045": "tabby cat"}; of several names each in turn')
    .option('--ask-for <file>', 'JSON: what to ask for in place of a class, {"mammal": ["dog", "horse"]}, each in turn')
    .option('--no-captions', "leave out the pictures' own captions (a .txt file beside each, or a text column)")
    .option('--domain <word>', 'what kind of pictures they are: satellite')
    .option('--rank <n>', 'of the adapters; default 16, with --mode picture 2', integer)
    .option('--epochs <n>', 'passes over the pictures; default 200, with --mode picture 600', integer)
    .option('--adapt-steps <n>', 'updates of an adapter, instead of passes', integer)
    .option('--adapt-lr <rate>', 'default 1e-4, with --mode picture 1e-3', number)
    .option('--no-text-encoder', 'adapt the UNet only')
    .option('--per-class <n>', 'pictures of each class; default 500', integer)
    .option('--steps <n>', 'of the sampler; default 50', integer)
    .option('--guidance <scales...>', 'default 2; of several each holds for a batch in turn', numbers)
    .addOption(new Option('--from <what>', 'what a picture begins with: noise, or a real one of its class; default noise').choices(['noise', 'real']))
    .option('--strength <shares...>', 'with --from real: share of the steps that are taken; default 0.8; of several each holds for a batch in turn', numbers)
    .addOption(new Option('--dtype <dtype>', 'numbers to draw in; default auto, the fastest here').choices(DTYPES))
    .option('--batch-size <n>', 'pictures computed at once; default 8', integer)
    .option('--no-filter', 'keep all pictures, also those that look alike')
    .option('--keep <share>', 'of each class, those that a judge is surest of; default 1', number)
    .addOption(new Option('--judge <who>', 'with --keep and --agreement-percentile: a classifier of the real pictures, or a CLIP asked with sentences; default classifier').choices(['classifier', 'clip']))
    .option('--agreement-percentile <share>', 'drop those that the judge is less sure of than of this share of the real pictures; default 0', number)
    .option('--near <share>', 'of each class, those nearest to a real picture as a CLIP sees them; default 1', number)
    .option('--distance-percentile <share>', 'drop those farther from the real pictures than this share of these are from each other; default 1', number)
    .option('--diverse <n>', 'at most so many of each class, those that differ most as a CLIP sees them', integer)
    .option('--filter-clip <model>', "that CLIP: a folder, or 'seedling', the default")
    .option('--no-compare', 'do not train classifiers')
    .option('--init <start>', 'of the classifiers: a saved one, a shipped backbone, or random; default fractal-resnet-nano')
    .option('--clip <model>', "adapt this CLIP instead, the paper's classifier: a folder, or 'seedling'")
    .option('--compare-steps <n>', 'updates of each classifier; default 300', integer)
    .option('--seeds <n>', 'runs of each way to train; default 5', integer)
    .option('--real-weight <share>', 'of the real pictures in the loss; default 0.8', number)
    .option('--choose', 'choose views of pictures, and that share unless it is given, on the real ones, held out by halves in turn (up to eight more classifiers of half as many updates)')
    .option('--sweep <n...>', 'also train with so many generated pictures per class, for a curve', integers)
    .addOption(new Option('--format <format>', 'webdataset: write tars too; default imagefolder').choices(['imagefolder', 'webdataset']))
    .option('--shard <i/n>', 'do every n-th class only, from the i-th on', shard)
    .option('--seed <n>', 'everything random follows from it; default 0', integer)
    .option('--threads <n>', 'default: all cores', integer)
    .option('--json', 'print one JSON object instead of text')
    .action((data: string, options: Options) => grow(data, options, command));
  example(command, 'npx seedbed grow photos/ --out grown/', 'npx seedbed grow photos/ --out grown/ --model org/name --domain satellite --per-class 100');
}

/** Of options that take several. */
const integers = (text: string, before: number[] | undefined): number[] => [...(before ?? []), integer(text)];
const numbers = (text: string, before: number[] | undefined): number[] => [...(before ?? []), number(text)];

/** '2/4' */
function shard(text: string): { index: number; count: number } {
  const [, index, count] = /^(\d+)\/(\d+)$/.exec(text) ?? [];
  if (index === undefined || count === undefined) throw new InvalidArgumentError("Expected a part of the classes, say '1/4'.");
  return { index: Number(index), count: Number(count) };
}

async function grow(data: string, o: Options, command: Command): Promise<void> {
  const model = o.model ?? shippedDiffusion()[0];
  if (model === undefined) command.error('error: expected --model');
  const { mode, domain, shots, seed, threads, test, holdOut } = o;
  const names = o.names && (await readJson(o.names));
  const things = o.askFor && (await readJson(o.askFor));
  const chosen = o.choose ? 'choose' : undefined;
  const options = {
    ...defined({ mode, domain, shots, seed, threads, test, holdOut, template: o.template, captions: o.captions, names, shard: o.shard, format: o.format }),
    model,
    data,
    out: o.out,
    adapt: defined({ rank: o.rank, epochs: o.epochs, steps: o.adaptSteps, lr: o.adaptLr, textEncoder: o.textEncoder ? undefined : false }),
    generate: defined({ perClass: o.perClass, template: o.askWith, names: things, dtype: o.dtype, steps: o.steps, guidanceScale: o.guidance, batchSize: o.batchSize, init: o.from, strength: o.strength }),
    filter: o.filter && defined({ keep: o.keep, agreementPercentile: o.agreementPercentile, judge: o.judge, near: o.near, distancePercentile: o.distancePercentile, diverse: o.diverse, clip: o.filterClip }),
    compare: o.compare && defined({ init: o.init, clip: o.clip, steps: o.compareSteps, seeds: o.seeds, realWeight: o.realWeight ?? chosen, augment: chosen, sweep: o.sweep }),
    signal: interruptible(),
  } as DataDreamOptions;
  await runGrow(options, outputOf(command));
}

/** Does it and says how far it is. */
export async function runGrow(options: DataDreamOptions, output: Output): Promise<void> {
  const say = (text: string): void => void (output.json ? process.stderr : process.stdout).write(`${text}\n`);
  try {
    const job = dataDream(options);
    const tell = teller(say);
    for await (const event of job) tell(event);
    finish(await job, say, output.json ?? false);
  } catch (error) {
    if (error instanceof CancelledError && !output.json) process.stderr.write('What is finished is kept; the same command goes on.\n');
    throw error;
  }
}

const TITLES: Readonly<Record<Stage, string>> = { check: 'check', load: 'load', adapt: 'adapt the model', generate: 'generate', filter: 'filter', write: 'write', compare: 'compare', report: 'report' };

const TRIALS = { augment: 'views', realWeight: 'real weight' } as const;

/** Stages as lines, and now and then one about how far they are. */
function teller(say: (text: string) => void): (event: DataDreamEvent) => void {
  let last = 0;
  const sometimes = (text: string): void => {
    if (Date.now() - last < SAY_EVERY_MS) return;
    last = Date.now();
    say(`  ${text}`);
  };
  let now = '';
  const warned = new Set<string>();
  return (event) => {
    switch (event.type) {
      case 'stage':
        say(`${TITLES[event.stage]}: ${event.detail}`);
        return;
      case 'class':
        now = `${event.name} (${event.done + 1} of ${event.total})`;
        return;
      case 'generate':
        now = `${event.class} (${event.done + 1} of ${event.total})`;
        return;
      case 'step':
        sometimes(`${now}: update ${event.step} of ${event.steps}, loss ${event.loss.toFixed(4)}`);
        return;
      case 'progress':
        sometimes(`${now}: picture ${event.picture} of ${event.pictures}`);
        return;
      case 'warning':
        if (!warned.has(event.message)) say(`  ${event.message}`);
        warned.add(event.message);
        return;
      case 'compare':
        if (event.event.type === 'choose') say(`  ${TRIALS[event.event.what]} ${event.event.value}: ${percent(event.event.accuracy)} of ${event.event.held} real pictures right, held out by halves in turn`);
        if (event.event.type === 'run') say(`  ${event.event.done} of ${event.event.total}  ${event.event.arm}: ${percent(event.event.accuracy)} right`);
        return;
      default:
        return;
    }
  };
}

function finish({ classes, gain, folder, preflight, notCompared }: DataDreamResult, say: (text: string) => void, json: boolean): void {
  const work = new Work(folder);
  if (classes === undefined) {
    if (json) process.stdout.write(`${JSON.stringify({ out: folder, finished: false })}\n`);
    else say('This shard is done. When all are, the same command without --shard goes on.');
    return;
  }
  const generated = classes.reduce((sum, one) => sum + one.generated, 0);
  const kept = generated - classes.reduce((sum, { dropped }) => Object.values(dropped).reduce((a, b) => a + b, sum), 0);
  if (json) {
    process.stdout.write(`${JSON.stringify({ out: folder, finished: true, images: work.images, generated, kept, warnings: preflight.warnings, gain, notCompared, report: work.report })}\n`);
    return;
  }
  for (const warning of preflight.warnings) say(`Note: ${warning}.`);
  say(`\n${kept} of ${generated} generated pictures kept: ${resolve(work.images)}`);
  if (gain === undefined) say(`Whether they help was not measured: ${notCompared ?? ''}.`);
  else {
    say(`Right answers on ${gain.study.testPictures} real pictures that nothing else saw (guessing: ${percent(1 / gain.study.classes.length)}):`);
    for (const { name, accuracy, runs } of gain.study.arms) say(`  ${name.padEnd(28)} ${percent(accuracy.mean).padStart(7)}   (${runs.map((run) => percent(run.accuracy)).join(', ')})`);
    const says = { better: 'they helped', worse: 'they did harm', undecided: 'not decided by these runs' };
    if (gain.choice !== undefined) say(`  chosen for both: ${choiceText(gain.choice)}${gain.choice.trials.length === 0 ? ' (too few pictures to hold some out)' : ''}`);
    for (const one of gain.gains) say(`  against ${one.baseline.padEnd(26)} ${points(one.interval.mean)} points, ${sureness(one)}: ${says[verdict(one)]}`);
  }
  say(`Report: ${resolve(work.report)}`);
}
