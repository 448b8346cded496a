import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { demo, type DemoOptions } from '../../lib/demo.js';
import { writeFileWhole } from '../../lib/files.js';
import { writeRecord, type DemoRecord } from '../../lib/report/record.js';
import { percent, verdict } from '../../lib/report/parts.js';
import { renderReport } from '../../lib/report/report.js';
import { example, integer, outputOf } from '../arguments.js';
import { interruptible } from '../tasks.js';

function summary({ study }: DemoRecord): string {
  const rows = study.arms.map(({ name, accuracy, runs }) => `  ${name.padEnd(30)} ${percent(accuracy.mean).padStart(7)}   (${runs.map((run) => percent(run.accuracy)).join(', ')})`);
  const says = { better: 'better than scratch', worse: 'worse than scratch', undecided: 'not decided by these runs' };
  const gaps = study.comparisons.map((c) => {
    const { mean, low, high } = c.interval;
    const signed = (value: number): string => `${value < 0 ? '-' : '+'}${Math.abs(100 * value).toFixed(1)}`;
    return `  ${c.arm.padEnd(30)} ${signed(mean)} points, 95 % interval ${signed(low)} to ${signed(high)}: ${says[verdict(c)]}`;
  });
  return [`Right answers on ${study.testPictures} test pictures (guessing: ${percent(1 / study.classes.length)}):`, ...rows, 'Against scratch, paired:', ...gaps].join('\n');
}

export function addDemo(program: Command): void {
  const command = program
    .command('demo')
    .description('from one formula to a trained classifier on real pictures, with a report, in minutes')
    .option('--out <folder>', 'where the report goes', 'seedbed-demo')
    .option('--seeds <n>', 'runs of each start', integer, 3)
    .option('--shots <n>', 'pictures per class, at most 24', integer, 8)
    .option('--steps <n>', 'steps of each fine-tuning run', integer, 150)
    .option('--pretrain-steps <n>', 'steps of the live pre-training', integer, 150)
    .option('--json', 'print one JSON object instead of text')
    .action(async ({ out, ...options }: DemoOptions & { out: string }) => {
      const { json } = outputOf(command);
      const say = (text: string): void => void (json ? process.stderr : process.stdout).write(`${text}\n`);
      await mkdir(out, { recursive: true });
      const job = demo({ ...options, signal: interruptible() });
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
    });
  example(command, 'npx seedbed demo', 'npx seedbed demo --seeds 10 --shots 16');
}
