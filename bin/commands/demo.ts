import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { fractalDemo, type FractalDemoOptions } from '../../lib/demo/fractal.js';
import { growDemo } from '../../lib/demo/grow.js';
import { shippedDiffusion } from '../../lib/diffusion/load.js';
import { SeedbedError } from '../../lib/errors.js';
import { writeFileWhole } from '../../lib/files.js';
import { defined } from '../../lib/options.js';
import { writeRecord, type DemoRecord } from '../../lib/report/record.js';
import { percent, points, sureness, verdict } from '../../lib/report/parts.js';
import { renderReport } from '../../lib/report/report.js';
import { example, integer, outputOf } from '../arguments.js';
import { interruptible, type Output } from '../tasks.js';
import { runGrow } from './grow.js';

function summary({ study }: DemoRecord): string {
  const rows = study.arms.map(({ name, accuracy, runs }) => `  ${name.padEnd(30)} ${percent(accuracy.mean).padStart(7)}   (${runs.map((run) => percent(run.accuracy)).join(', ')})`);
  const says = { better: 'better than scratch', worse: 'worse than scratch', undecided: 'not decided by these runs' };
  const gaps = study.comparisons.map((one) => `  ${one.arm.padEnd(30)} ${points(one.interval.mean)} points, ${sureness(one)}: ${says[verdict(one)]}`);
  return [`Right answers on ${study.testPictures} test pictures (guessing: ${percent(1 / study.classes.length)}):`, ...rows, 'Against scratch, paired:', ...gaps].join('\n');
}

export function addDemo(program: Command): void {
  const command = program
    .command('demo')
    .description('a few pictures of each kind become many, and classifiers say whether that helps; with a report, in minutes')
    .argument('[which]', 'grow, or fractal: from one formula to a trained classifier', 'grow')
    .option('--out <folder>', 'where the report goes', 'seedbed-demo')
    .option('--seeds <n>', 'runs of each way to train', integer, 3)
    .option('--shots <n>', 'real pictures per class; default 4, fractal 8', integer)
    .option('--steps <n>', 'updates of each classifier; default 100, fractal 150', integer)
    .option('--per-class <n>', 'grow: pictures to make of each class; default 48', integer)
    .option('--adapt-steps <n>', 'grow: updates of the adapter; default 100', integer)
    .option('--pretrain-steps <n>', 'fractal: steps of the live pre-training; default 150', integer)
    .option('--json', 'print one JSON object instead of text')
    .action((which: string, options: Options) => runDemo(which, options, command));
  example(command, 'npx seedbed demo', 'npx seedbed demo --seeds 10', 'npx seedbed demo fractal --shots 16');
}

interface Options {
  out: string;
  seeds: number;
  shots?: number;
  steps?: number;
  perClass?: number;
  adaptSteps?: number;
  pretrainSteps?: number;
}

async function runDemo(which: string, { out, seeds, shots, steps, perClass, adaptSteps, pretrainSteps }: Options, command: Command): Promise<void> {
  if (which !== 'grow' && which !== 'fractal') command.error(`error: expected grow or fractal, received '${which}'`);
  const output = outputOf(command);
  const signal = interruptible();
  if (which === 'fractal') return showFractals(out, defined({ seeds, shots, steps, pretrainSteps, signal }), output);
  const [model] = shippedDiffusion();
  if (model === undefined) throw new SeedbedError('ERR_FILE_NOT_FOUND', "Expected the small model that comes with the package in 'models/seedling', found none; `seedbed demo fractal` needs none");
  await runGrow(await growDemo({ out, seeds, signal, ...defined({ shots, perClass, adaptSteps, compareSteps: steps }) }), output);
}

async function showFractals(out: string, options: FractalDemoOptions, { json }: Output): Promise<void> {
  const say = (text: string): void => void (json ? process.stderr : process.stdout).write(`${text}\n`);
  await mkdir(out, { recursive: true });
  const job = fractalDemo(options);
  let shown = '';
  for await (const event of job) {
    if (event.type === 'part') say(`${event.name}: ${event.detail}`);
    else {
      const mark = event.total <= 20 ? String(event.done) : String(Math.floor((10 * event.done) / event.total));
      if (mark !== shown) say(`  ${event.done} of ${event.total}  ${event.detail}`);
      shown = mark;
    }
  }
  const record = await job;
  const report = resolve(out, 'report.html');
  await writeRecord(join(out, 'record.json'), record);
  await writeFileWhole(report, await renderReport(record));
  if (json) process.stdout.write(`${JSON.stringify({ report, arms: record.study.arms, comparisons: record.study.comparisons, parts: record.parts })}\n`);
  else say(`\n${summary(record)}\n\nReport: ${report}  (${record.parts.reduce((sum, part) => sum + part.seconds, 0).toFixed(0)} s)`);
}
