import type { Command } from 'commander';
import { writeFileWhole } from '../../lib/files.js';
import { readRecord } from '../../lib/report/record.js';
import { renderReport } from '../../lib/report/report.js';
import { example, outputOf } from '../arguments.js';

export function addReport(program: Command): void {
  const command = program
    .command('report')
    .description('make the HTML report of a finished run from its record')
    .argument('<record>', 'record.json of a demo or training run')
    .option('--out <file>', 'the page to write', 'report.html')
    .option('--json', 'print one JSON object instead of text')
    .action(async (path: string, { out }: { out: string }) => {
      await writeFileWhole(out, await renderReport(await readRecord(path)));
      process.stdout.write(outputOf(command).json ? `${JSON.stringify({ report: out })}\n` : `Report: ${out}\n`);
    });
  example(command, 'npx seedbed report seedbed-demo/record.json --out report.html');
}
