import type { Command } from 'commander';
import { loadClassifier } from '../../lib/classifier.js';
import { openDataset, type OpenDatasetOptions } from '../../lib/data/open.js';
import { example, outputOf } from '../arguments.js';
import { interruptible } from '../tasks.js';

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

export function addEvaluate(program: Command): void {
  const command = program
    .command('evaluate')
    .description('measure a saved classifier on labelled pictures')
    .argument('<model>', 'a folder written by seedbed train')
    .argument('<data>', 'image folder, WebDataset tar, IDX file or folder with metadata.jsonl')
    .option('--skip-corrupt', 'leave out files that are no pictures instead of stopping')
    .option('--part <part>', 'of IDX data: train or test', 'test')
    .option('--json', 'print one JSON object instead of text')
    .action(async (model: string, path: string, options: { skipCorrupt?: boolean; part: string }) => {
      using classifier = await loadClassifier(model);
      const data = await openDataset(path, { onCorrupt: options.skipCorrupt ? 'skip' : 'error', part: options.part as OpenDatasetOptions['part'] });
      const result = await classifier.evaluate(data, { signal: interruptible() });
      if (outputOf(command).json) {
        process.stdout.write(`${JSON.stringify({ ...result, classes: classifier.classes, skipped: data.skipped })}\n`);
        return;
      }
      const { accuracy, interval, balancedAccuracy, loss, confusion, count } = result;
      const lines = classifier.classes.map((name, i) => {
        const total = confusion[i]?.reduce((a, b) => a + b, 0) ?? 0;
        return `  ${name.padEnd(20)} ${total === 0 ? 'none' : `${percent((confusion[i]?.[i] ?? 0) / total)} of ${total}`}`;
      });
      if (data.skipped.length > 0) lines.push(`  left out: ${data.skipped.length} files (${data.skipped[0]?.key}: ${data.skipped[0]?.reason})`);
      process.stdout.write(
        `${percent(accuracy)} of ${count} pictures right (95 % interval ${percent(interval.low)} to ${percent(interval.high)}); mean over classes ${percent(balancedAccuracy)}; loss ${loss.toFixed(3)}\n${lines.join('\n')}\n`,
      );
    });
  example(command, 'npx seedbed evaluate classifier/ photos/');
}
